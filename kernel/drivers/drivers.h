// The drivers of the machine's devices.
#pragma once

// Finds the machine's devices and starts their drivers. At boot, in a thread.
void drivers_start();
