// Time: the TSC as the clock, the local APIC's timer for deadlines, the RTC for the date.
//
// Neither the TSC nor the APIC's timer says how fast it runs. Both are counted against a clock of
// known frequency, ACPI's power-management timer or else the PIT, for ten milliseconds at boot.
#include <machine/clock.h>

#include "arch/timer.h"
#include "kernel/base/printk.h"
#include "lib/assert.h"

#include <algorithm>
#include <atomic>
#include <machine/acpi.h>
#include <machine/apic.h>
#include <machine/instructions.h>

namespace {

__extension__ using uint128_t = unsigned __int128;

// A frequency ratio as a factor with 32 fraction bits.
struct scale {
    uint64_t factor = 0;
    static scale from(uint64_t to_hz, uint64_t from_hz) {
        // 128 by 64 bits by hand: libgcc's division uses the red zone.
        uint64_t whole = to_hz / from_hz, rest = to_hz % from_hz;
        return {whole << 32 | ((rest << 32) / from_hz)};
    }
    uint64_t apply(uint64_t n) const {
        return static_cast<uint64_t>((uint128_t{n} * factor) >> 32);
    }
};

uint64_t tsc_at_boot, tsc_hz, lapic_hz;
scale nanos_per_cycle, timer_ticks_per_nano;
nanos_t wall_clock_at_boot;
std::atomic<nanos_t> latest{0}; // what now() has told anybody

// ---- The clocks of known frequency -----------------------------------------------------------

struct reference_clock {
    uint64_t hz;
    uint32_t mask; // of the bits that count
    uint32_t (*read)();
};

uint32_t read_pm_timer() { return in32(acpi.pm_timer); }

constexpr uint16_t pit_channel_2 = 0x42, pit_command = 0x43, speaker_port = 0x61;

// Channel 2, whose gate is in our hands and whose output only drives the speaker (left
// unconnected).
void start_pit() {
    out8(speaker_port, static_cast<uint8_t>((in8(speaker_port) & ~2) | 1));
    out8(pit_command, 0xb4); // channel 2, low and high byte, mode 2: counts down and starts again
    out8(pit_channel_2, 0);  // 65,536
    out8(pit_channel_2, 0);
}

uint32_t read_pit() {
    out8(pit_command, 0x80); // latch channel 2
    uint32_t low = in8(pit_channel_2), high = in8(pit_channel_2);
    return 0x10000 - (high << 8 | low); // counts up, as the others do
}

// Whether it moves at all.
bool runs(const reference_clock& c) {
    uint32_t first = c.read();
    for (unsigned i = 0; i < 1000; i++)
        if (c.read() != first)
            return true;
    return false;
}

reference_clock choose_reference() {
    reference_clock pm{3'579'545, acpi.pm_timer_32_bits ? 0xffff'ffff : 0xff'ffff, read_pm_timer};
    if (acpi.pm_timer && runs(pm))
        return pm;
    start_pit();
    reference_clock pit{1'193'182, 0xffff, read_pit};
    if (!runs(pit))
        panic("no clock of known frequency: neither an ACPI timer nor a PIT runs");
    return pit;
}

// One moment as all three clocks see it. Of several readings the one that took least time counts: a
// processor that was taken away in between (as happens under emulation) makes the others worthless.
struct moment {
    uint64_t tsc;
    uint32_t reference, timer;
};

moment read_clocks(const reference_clock& reference) {
    moment best{};
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < 16; i++) {
        uint64_t before = read_tsc();
        uint32_t r = reference.read();
        uint32_t t = lapic_timer_remaining();
        uint64_t after = read_tsc();
        if (after - before < shortest) {
            shortest = after - before;
            best = {before + (after - before) / 2, r, t};
        }
    }
    return best;
}

void calibrate() {
    reference_clock reference = choose_reference();
    lapic_timer_start(UINT32_MAX);
    moment first = read_clocks(reference);
    // The reference is followed all the time, for it may wrap.
    uint64_t ticks = 0;
    uint32_t previous = first.reference;
    auto advance = [&](uint32_t to) {
        ticks += (to - previous) & reference.mask;
        previous = to;
    };
    while (ticks < reference.hz / 100)
        advance(reference.read());
    moment last = read_clocks(reference);
    advance(last.reference);
    lapic_timer_start(0);

    tsc_hz = (last.tsc - first.tsc) * reference.hz / ticks;
    lapic_hz = uint64_t{first.timer - last.timer} * reference.hz / ticks;
    if (tsc_hz == 0 || lapic_hz == 0)
        panic("the TSC or the local APIC's timer does not run");
    nanos_per_cycle = scale::from(nanos_per_second, tsc_hz);
    timer_ticks_per_nano = scale::from(lapic_hz, nanos_per_second);
}

// ---- The real-time clock (Motorola MC146818) -------------------------------------------------

constexpr uint16_t cmos_index = 0x70, cmos_data = 0x71;
constexpr uint8_t rtc_status_a = 0x0a, rtc_status_b = 0x0b;
constexpr uint8_t rtc_updating = 0x80, rtc_24_hours = 0x02, rtc_binary = 0x04, rtc_pm = 0x80;

uint8_t read_cmos(uint8_t reg) {
    out8(cmos_index, reg);
    return in8(cmos_data);
}

struct rtc_time {
    uint8_t second, minute, hour, day, month, year, century;
    bool operator==(const rtc_time&) const = default;
};

rtc_time read_rtc_once() {
    for (unsigned i = 0; i < 100'000 && (read_cmos(rtc_status_a) & rtc_updating); i++)
        pause_instruction();
    uint8_t century = acpi.century_register ? read_cmos(acpi.century_register) : 0;
    return {read_cmos(0), read_cmos(2), read_cmos(4), read_cmos(7),
            read_cmos(8), read_cmos(9), century};
}

// Days from 1970-01-01 in the Gregorian calendar; years that begin in March put the leap day last.
int64_t days_since_1970(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400, of_era = year % 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146'097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719'468;
}

uint64_t seconds_since_1970() {
    rtc_time t = read_rtc_once();
    for (unsigned i = 0; i < 10; i++) { // until no update fell between two registers
        rtc_time again = read_rtc_once();
        if (again == t)
            break;
        t = again;
    }
    uint8_t mode = read_cmos(rtc_status_b);
    bool pm = !(mode & rtc_24_hours) && (t.hour & rtc_pm);
    t.hour &= static_cast<uint8_t>(~rtc_pm);
    if (!(mode & rtc_binary))
        for (uint8_t* v : {&t.second, &t.minute, &t.hour, &t.day, &t.month, &t.year, &t.century})
            *v = static_cast<uint8_t>((*v >> 4) * 10 + (*v & 15));
    if (!(mode & rtc_24_hours))
        t.hour = static_cast<uint8_t>(t.hour % 12 + (pm ? 12 : 0));
    int64_t year = t.year + (t.century >= 19 && t.century < 25 ? t.century * 100 : 2000);
    int64_t days = days_since_1970(year, t.month, t.day);
    return static_cast<uint64_t>(days * 86'400 + t.hour * 3600 + t.minute * 60 + t.second);
}

} // namespace

void clock_initialize() {
    tsc_at_boot = read_tsc();
    calibrate();
    uint64_t seconds = seconds_since_1970();
    wall_clock_at_boot = seconds * nanos_per_second - now();
}

nanos_t now() {
    if (nanos_per_cycle.factor == 0)
        return 0; // not calibrated yet
    nanos_t t = nanos_per_cycle.apply(read_tsc() - tsc_at_boot);
    // Two CPUs' counters may differ a little: nobody is told less than somebody was before.
    nanos_t told = latest.load(std::memory_order_relaxed);
    while (told < t)
        if (latest.compare_exchange_weak(told, t, std::memory_order_relaxed))
            return t;
    return told;
}

nanos_t boot_wall_clock() { return wall_clock_at_boot; }
uint64_t cycle_count() { return read_tsc(); }
nanos_t nanos_of_cycles(uint64_t cycles) { return nanos_per_cycle.apply(cycles); }
uint64_t cycles_per_second() { return tsc_hz; }

void timer_program(nanos_t deadline) {
    if (deadline == forever) {
        lapic_timer_start(0);
        return;
    }
    // A deadline beyond the counter's range gives an early interrupt, after which the handler
    // programs the rest.
    constexpr nanos_t longest = nanos_per_second;
    nanos_t t = now();
    nanos_t wait = deadline > t ? std::min(deadline - t, longest) : 0;
    uint64_t ticks = timer_ticks_per_nano.apply(wait) + 1;
    lapic_timer_start(static_cast<uint32_t>(std::min<uint64_t>(ticks, UINT32_MAX)));
}

void delay(nanos_t duration) {
    nanos_t end = now() + duration;
    while (now() < end)
        pause_instruction();
}
