// lib/: lists, reference counts, formatting, memory functions, the lock order checker.
#include "arch/cpu.h"
#include "kernel/base/printk.h"
#include "kernel/files/file.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_list.h"
#include "lib/ref_ptr.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"

#include <string_view>

namespace {

struct item {
    int value = 0;
    list_node node, other;
};
using item_list = list<item, &item::node>;

// Whether the list holds exactly these values, in both directions.
template <size_t N> bool holds(const item_list& l, const int (&values)[N]) {
    size_t i = 0;
    for (item& x : l) {
        if (i == N || x.value != values[i])
            return false;
        i++;
    }
    if (i != N)
        return false;
    for (item* x = l.back(); x; x = l.prev(*x)) {
        if (i == 0 || x->value != values[i - 1])
            return false;
        i--;
    }
    return i == 0 && l.size() == N;
}

struct counted : ref_counted<counted> {
    [[maybe_unused]] static constexpr auto end_takes = lock_rank::pool;
    list_node on_list;
    int gone = 0;
    void last_reference_gone() { gone++; }
};

} // namespace

KTEST(list, keeps_order) {
    item a{1, {}, {}}, b{2, {}, {}}, c{3, {}, {}}, d{4, {}, {}};
    item_list l;
    EXPECT(l.empty() && !l.front() && !l.back() && l.begin() == l.end());
    l.push_back(b);
    l.push_front(a);
    l.push_back(d);
    l.insert_before(d, c);
    EXPECT(holds(l, {1, 2, 3, 4}));
    l.remove(b);
    EXPECT(!b.node.linked());
    l.insert_after(d, b);
    EXPECT(holds(l, {1, 3, 4, 2}));
    EXPECT(l.pop_front() == &a);
    EXPECT(l.next(b) == nullptr && l.prev(c) == nullptr && l.next(c) == &d);
    while (l.pop_front()) {
    }
    EXPECT(l.empty() && l.begin() == l.end());
}

KTEST(list, splices) {
    item a{1, {}, {}}, b{2, {}, {}}, c{3, {}, {}};
    item_list l, m;
    l.splice_back(m); // empty to empty
    EXPECT(l.empty());
    m.push_back(a);
    l.splice_back(m); // to empty
    EXPECT(holds(l, {1}) && m.empty());
    m.push_back(b);
    m.push_back(c);
    l.splice_back(m);
    EXPECT(holds(l, {1, 2, 3}) && m.empty());
    while (l.pop_front()) {
    }
}

KTEST(list, element_on_two_lists) {
    item a{1, {}, {}};
    item_list l;
    list<item, &item::other> o;
    l.push_back(a);
    o.push_back(a);
    EXPECT(l.front() == &a && o.front() == &a);
    l.remove(a);
    EXPECT(o.front() == &a && !o.empty());
    o.remove(a);
}

KTEST(list, array_of_lists_starts_empty) {
    static constinit item_list lists[4];
    for (item_list& l : lists) {
        EXPECT(l.empty());
        item a;
        l.push_back(a);
        EXPECT(l.front() == &a && l.back() == &a);
        l.remove(a);
    }
}

KTEST(ref_ptr, last_reference_gone_once) {
    counted object;
    {
        auto p = ref_ptr<counted>::adopt(&object);
        EXPECT_EQ(object.references(), 1);
        {
            ref_ptr<counted> q = p, r;
            EXPECT_EQ(object.references(), 2);
            r = q;
            q = std::move(r);
            EXPECT_EQ(object.references(), 2);
            EXPECT(p == q && !r); // NOLINT(bugprone-use-after-move): what a move leaves is the test
        }
        EXPECT_EQ(object.references(), 1);
        EXPECT_EQ(object.gone, 0);
        EXPECT(object.try_add_reference());
        object.drop_reference();
        counted* raw = p.leak();
        EXPECT(!p && raw == &object);
        p = ref_ptr<counted>::adopt(raw);
    }
    EXPECT_EQ(object.gone, 1);
    EXPECT(!object.try_add_reference());
}

KTEST(ref_ptr, a_list_owns_its_elements) {
    counted one, other;
    {
        ref_list<counted, &counted::on_list> all;
        all.push_back(ref_ptr<counted>::adopt(&one));
        all.push_back(ref_ptr(&other));
        EXPECT_EQ(one.references(), 1u);
        EXPECT_EQ(other.references(), 2u);
        EXPECT(all.pop_front().get() == &one); // let go of at once
        EXPECT_EQ(one.gone, 1);
        EXPECT(all.remove(other).get() == &other && all.empty());
        EXPECT_EQ(other.references(), 1u);
        all.push_back(ref_ptr<counted>::adopt(&other));
    }
    EXPECT_EQ(other.gone, 1);
}

KTEST(ref_ptr, an_early_one_gives_back_what_it_had) {
    counted object;
    early_ref<counted> early;
    early = ref_ptr<counted>::adopt(&object);
    {
        const ref_ptr<counted> further = early;
        EXPECT_EQ(object.references(), 2u);
        EXPECT(early.get() == further.get());
    }
    ref_ptr<counted> had = early.exchange(nullptr);
    EXPECT(!early && had.get() == &object);
    early = std::move(had);
    EXPECT_EQ(object.references(), 1u);
    early.reset();
    EXPECT_EQ(object.gone, 1);
}

namespace {
bool formats(const char* expected, const char* format, ...) __attribute__((format(printf, 2, 3)));
bool formats(const char* expected, const char* format, ...) {
    char out[128];
    va_list args;
    va_start(args, format);
    int n = vformat_to(out, sizeof out, format, args);
    va_end(args);
    return strcmp(out, expected) == 0 && n == static_cast<int>(strlen(expected));
}
} // namespace

KTEST(format, conversions) {
    EXPECT(formats("-1 7 4294967295", "%d %i %u", -1, 7, 4294967295u));
    EXPECT(formats("-9223372036854775808", "%ld", INT64_MIN));
    EXPECT(formats("ff FF 0xff 017 0", "%x %X %#x %#o %#x", 255u, 255u, 255u, 15u, 0u));
    EXPECT(formats("   42|42   |00042|+42| 42", "%5d|%-5d|%05d|%+d|% d", 42, 42, 42, 42, 42));
    EXPECT(formats("abc|    abc|abc    |ab", "%s|%7s|%-7s|%.2s", "abc", "abc", "abc", "abc"));
    EXPECT(formats("[  x] [y  ] [00123]", "[%*s] [%-*s] [%.*d]", 3, "x", 3, "y", 5, 123));
    EXPECT(formats("0x1234 (null) A %", "%p %s %c %%", reinterpret_cast<void*>(0x1234),
                   static_cast<const char*>(nullptr), 'A'));
    EXPECT(formats("18446744073709551615 -5 255", "%zu %td %hhu", SIZE_MAX, ptrdiff_t{-5},
                   static_cast<unsigned char>(255)));
}

KTEST(format, cuts_at_the_size) {
    char out[8];
    memset(out, 'x', sizeof out);
    EXPECT_EQ(format_to(out, 5, "%s", "abcdefgh"), 8);
    EXPECT(strcmp(out, "abcd") == 0);
    EXPECT_EQ(out[5], 'x');
    EXPECT_EQ(format_to(out, 0, "%d", 12345), 5);
    EXPECT_EQ(out[0], 'a');
}

KTEST(string, moves_of_every_size_and_overlap) {
    constexpr size_t size = 160;
    static unsigned char memory[size], model[size];
    for (int round = 0; round < 3000; round++) {
        for (size_t i = 0; i < size; i++)
            memory[i] = model[i] = static_cast<unsigned char>(ktest_random());
        const size_t from = ktest_random(60), to = ktest_random(60), n = ktest_random(100);
        // The model goes byte by byte, through a copy.
        unsigned char copy[size];
        for (size_t i = 0; i < n; i++)
            *const_cast<volatile unsigned char*>(&copy[i]) = model[from + i];
        for (size_t i = 0; i < n; i++)
            *const_cast<volatile unsigned char*>(&model[to + i]) = copy[i];
        memmove(memory + to, memory + from, n);
        bool same = true;
        for (size_t i = 0; i < size; i++)
            same &= memory[i] == model[i];
        if (!same) {
            ktest_fail(__FILE__, __LINE__, "memmove from %zu to %zu, %zu bytes", from, to, n);
            return;
        }
        EXPECT_EQ(memcmp(memory, model, size), 0);
    }
}

KTEST(string, fills_and_compares) {
    static unsigned char memory[96];
    for (size_t n = 0; n < 64; n++) {
        for (unsigned char& c : memory)
            *const_cast<volatile unsigned char*>(&c) = 1;
        memset(memory + 8, 0xa5, n);
        bool right = true;
        for (size_t i = 0; i < sizeof memory; i++)
            right &= memory[i] == (i >= 8 && i < 8 + n ? 0xa5 : 1);
        EXPECT(right);
    }
    EXPECT(memcmp("abcdefghij", "abcdefghiz", 10) < 0);
    EXPECT(memcmp("abcdefgh\xff", "abcdefgh\x01", 9) > 0);
    EXPECT(strcmp("a", "ab") < 0 && strcmp("\xff", "a") > 0 && strncmp("abc", "abd", 2) == 0);
    char out[4];
    EXPECT_EQ(copy_string(out, sizeof out, "abcdef"), 3);
    EXPECT(strcmp(out, "abc") == 0);
}

KTEST(errno, names) {
    EXPECT(strcmp(errno_name(Errno::nomem), "ENOMEM") == 0);
    EXPECT(strcmp(errno_name(static_cast<Errno>(4000)), "E?") == 0);
}

KTEST(held_locks, finds_order_violations) {
    held_locks held;
    int a = 0, b = 0, c = 0;
    held.push(&a, "a", lock_rank::vm_map, false);
    held.push(&b, "b", lock_rank::vm_amap, false);
    EXPECT(!held.conflict(lock_rank::uvm_object));
    // Equal and lower ranks are violations; the innermost culprit is named.
    EXPECT(held.conflict(lock_rank::vm_amap) && held.conflict(lock_rank::vm_amap)->lock == &b);
    EXPECT(held.conflict(lock_rank::vm_map) && held.conflict(lock_rank::vm_map)->lock == &b);
    held.pop(&b);
    EXPECT(held.conflict(lock_rank::vm_map)->lock == &a);
    EXPECT(!held.conflict(lock_rank::vm_amap));
    // A second lock of the rank, and a release out of order.
    held.push(&c, "c", lock_rank::vm_map, true);
    held.pop(&a);
    EXPECT(held.holds(&c) && !held.holds(&a) && held.count == 1);
    held.pop(&c);
    EXPECT(!held.conflict(lock_rank::none));
}

KTEST(held_locks, remembers_the_highest_rank) {
    // push() looks at the last entry alone, which must speak for those below it.
    held_locks held;
    int a = 0, b = 0, c = 0;
    auto highest = [&] { return held.entries[held.count - 1].highest; };
    held.push(&a, "a", lock_rank::uvm_object, false);
    held.push(&b, "b", lock_rank::vnode, true); // below the first: by lock_nested() or try_lock()
    EXPECT(highest() == lock_rank::uvm_object);
    held.push(&c, "c", lock_rank::pmap, false);
    EXPECT(highest() == lock_rank::pmap);
    held.pop(&a); // from below: the others move down
    EXPECT(held.count == 2 && highest() == lock_rank::pmap);
    held.pop(&c);
    EXPECT(held.holds(&b) && highest() == lock_rank::vnode);
    held.pop(&b);
}

KTEST(held_locks, real_locks_are_noted) {
    spin_lock outer{lock_rank::pmap, "outer"}, inner{lock_rank::pv, "inner"};
    sleep_lock sleeper{lock_rank::vm_map, "sleeper"};
    lock_guard sleeping(sleeper);
    EXPECT(thread_held_locks().holds(&sleeper));
    lock_guard guard(outer);
    EXPECT(cpu_held_locks().holds(&outer) && outer.held() && !inner.held());
    EXPECT(!cpu_held_locks().conflict(lock_rank::pv));
    EXPECT(cpu_held_locks().conflict(lock_rank::fd_table));
    {
        lock_guard second(inner);
        EXPECT_EQ(cpu_held_locks().count, 2);
    }
    EXPECT_EQ(cpu_held_locks().count, 1);
}

KTEST(lib, a_message_is_one_line) {
    char text[128];
    uint64_t at = printk_end();
    printk("# %s", "a\n[    0.000000] b\033[m\tc\177");
    size_t n = printk_read(at, text);
    const std::string_view got(text, n);
    EXPECT(got.ends_with("] # a\\012[    0.000000] b\\033[m\tc\\177\n"));
}
