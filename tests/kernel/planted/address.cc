// Bugs of lifetimes, planted: `make SANITIZE=address` must find each (tests/kernel/hang.h).
#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/ref_ptr.h"
#include "tests/kernel/hang.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

#include <cstring>
#include <iterator>
#include <machine/kernel_stack.h>

namespace {

struct thing final : ref_counted<thing> {
    static constexpr auto end_takes = lock_rank::pool;
    uint64_t value = 7;
    void last_reference_gone();
};
constinit pool<thing> things{"planted"};
void thing::last_reference_gone() { things.destroy(this); }

volatile uint64_t sink;

// Who keeps a plain pointer, and lets go of the reference that stands behind it.
[[gnu::noinline]] void reference_let_go() {
    auto owner = ref_ptr<thing>::adopt(things.create());
    thing* kept = owner.get();
    owner = nullptr;
    sink = kept->value;
}

// The page of a list that goes on after it was freed.
[[gnu::noinline]] void page_freed() {
    vm_page* page = vm_page_alloc(page_owner::kernel, true);
    auto* word = static_cast<uint64_t*>(page->data());
    vm_page_free(page);
    word[100] = 1;
}

// A path of an error that frees what its caller frees, too.
[[gnu::noinline]] void freed_twice() {
    thing* t = things.create();
    things.destroy(t);
    things.deallocate(t);
}

// A string without room for its NUL.
[[gnu::noinline]] void no_room_for_the_nul() {
    constexpr size_t length = 20;
    auto* text = static_cast<char*>(kmem_alloc(length));
    memset(text, 'x', length);
    text[length] = 0;
    kmem_free(text, length);
}

// The elements of an array whose owner has ended.
[[gnu::noinline]] void array_ended() {
    uint32_t* kept;
    {
        kmem_array<uint32_t> owner(100);
        kept = owner.data();
    }
    kept[50] = 1;
}

// A dead thread's stack.
[[gnu::noinline]] void stack_freed() {
    auto stack = kernel_stack_allocate();
    kernel_stack_free(*stack);
    sink = *reinterpret_cast<uint64_t*>(*stack + 256);
}

// The last element of a table, and one more.
uint32_t table[5];
[[gnu::noinline]] void one_more() {
    for (size_t i = 0; i <= std::size(table); i++)
        *static_cast<volatile uint32_t*>(table + i) = 1;
}

} // namespace

void plant_bug(const char* name) {
    auto is = [&](const char* word) { return strcmp(name, word) == 0; };
    if (is("reference-let-go"))
        reference_let_go();
    if (is("page-freed"))
        page_freed();
    if (is("freed-twice"))
        freed_twice();
    if (is("no-room-for-the-nul"))
        no_room_for_the_nul();
    if (is("array-ended"))
        array_ended();
    if (is("stack-freed"))
        stack_freed();
    if (is("one-more"))
        one_more();
}
