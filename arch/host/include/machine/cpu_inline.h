// On the host all functions of arch/cpu.h are in arch/host/cpu.cc.
#pragma once
