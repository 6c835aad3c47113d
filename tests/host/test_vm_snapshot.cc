// What the snapshots say of address spaces whose every structure is known: runs are taken apart
// again, page by page, and held against the structures.
#include "tests/host/vm_world.h"

#include "vm/observe/vm_snapshot.h"

#include <algorithm>

namespace {

struct text final : text_sink {
    using text_sink::append;
    void append(std::string_view more) override { all += more; }
    std::string all;
};

template <class Write> std::string written_by(Write write) {
    text t;
    write(t);
    return t.all;
}

std::string hex(uint64_t n) {
    char digits[32];
    snprintf(digits, sizeof digits, "\"0x%lx\"", n);
    return digits;
}
std::string id_of(const void* p) { return hex(reinterpret_cast<uint64_t>(p)); }

std::vector<vm_map_entry*> entries_of(vm_ref& vm) {
    std::vector<vm_map_entry*> all;
    auto add = [](void* list, vm_map_entry& e) {
        static_cast<decltype(all)*>(list)->push_back(&e);
    };
    vmspace_snapshot_entries(*vm, add, &all);
    return all;
}

std::string of_space(vm_ref& vm) {
    return written_by([&](text& t) { vmspace_snapshot_json(*vm, t); });
}

bool has(const std::string& where, const std::string& what) {
    return where.find(what) != std::string::npos;
}

using row = std::vector<std::string>;

// The rows of the list of lists called `name` in a JSON text.
std::vector<row> rows_of(const std::string& json, const std::string& name) {
    size_t at = json.find("\"" + name + "\":[");
    REQUIRE(at != std::string::npos);
    std::vector<row> rows;
    for (at += name.size() + 4; json[at] != ']'; at += json[at] == ',') {
        REQUIRE(json[at] == '[');
        rows.emplace_back(1);
        for (at++; json[at] != ']'; at++) {
            if (json[at] == ',')
                rows.back().emplace_back();
            else
                rows.back().back() += json[at];
        }
        at++;
    }
    return rows;
}

uint64_t value_of(const std::string& word) {
    return strtoull(word.c_str() + (word[0] == '"'), nullptr, 0);
}

// A page of a run: where it is (a slot, an index, an address), its frame, and the rest of the row.
struct page_said {
    uint64_t where, frame;
    std::string rest;
    bool operator==(const page_said&) const = default;
};

// `frame` is the column of the first page's address, `unit` what the next page's place is further.
std::vector<page_said> pages_said(const std::vector<row>& rows, size_t frame, uint64_t unit) {
    constexpr size_t where = 0, count = 1;
    const size_t width = std::max<size_t>(frame + 1, 4);
    std::vector<page_said> all;
    for (const row& r : rows) {
        const bool stepped = r.size() > width;
        const int64_t step = stepped ? atoll(r.back().c_str()) : 1;
        CHECK((!stepped || (step != 1 && value_of(r[count]) > 1)));
        std::string rest;
        for (size_t i = 2; i < width; i++)
            rest += i == frame ? "" : r[i];
        for (uint64_t i = 0; i < value_of(r[count]); i++)
            all.push_back({value_of(r[where]) + i * unit,
                           value_of(r[frame]) + uint64_t(step * int64_t(i)) * page_size, rest});
    }
    return all;
}

uint64_t frame_of(vm_page* page) { return page->physical().value(); }

uint64_t frame_at(vm_ref& vm, vaddr_t at) {
    auto mapping = vm->physical_map().lookup(at);
    REQUIRE(mapping);
    return mapping->pa.value();
}

vm_page* anon_page(vm_map_entry& e, vaddr_t at) {
    lock_guard guard(e.aref.amap()->lock());
    vm_anon* anon = e.aref.amap()->lookup(e.slot_of(at));
    REQUIRE(anon);
    return anon->page();
}

} // namespace

TEST_CASE("snapshot: the attributes of every kind of entry", "[snapshot]") {
    vm_world world;
    vm_ref vm = new_space();
    auto object = uvm_aobj::create(pages(4), "a \"file\"", uvm_aobj::charging::nothing);
    REQUIRE(object);
    (*object)->set_identity("a \"file\"", 1, 77);
    vm->init_brk(vaddr_t(0x600000));
    REQUIRE(vm->set_brk(vaddr_t(0x601000)) == vaddr_t(0x601000));
    map_object(vm, 0x700000, 2, *object, true, pages(1), vm_prot::rx);
    vaddr_t at = map_private(vm, 0x100000, 4);
    store(vm, at, 1);
    REQUIRE(vm->lock_pages(at, pages(1)));
    REQUIRE(vm->advise(at + pages(1), pages(1), linux_abi::madv_sequential));
    REQUIRE(vm->advise(at + pages(2), pages(1), linux_abi::madv_random));
    REQUIRE(vm->advise(at + pages(2), pages(1), linux_abi::madv_dontfork));
    REQUIRE(vm->advise(at + pages(3), pages(1), linux_abi::madv_wipeonfork));

    const std::vector<vm_map_entry*> e = entries_of(vm);
    REQUIRE(e.size() == 6);
    const std::string amap = id_of(e[0]->aref.amap());
    auto private_one = [&](int i, const char* inherit, const char* advice, int wired) {
        return "{\"start\":" + hex(0x100000 + pages(uint64_t(i))) +
               ",\"end\":" + hex(0x101000 + pages(uint64_t(i))) +
               ",\"prot\":\"rw-\",\"max\":\"rwx\",\"inherit\":\"" + inherit + "\",\"advice\":\"" +
               advice + "\",\"wired\":" + std::to_string(wired) +
               ",\"cow\":true,\"needs_copy\":false,\"name\":\"\",\"object\":null,\"offset\":0,"
               "\"amap\":" +
               amap + ",\"slot\":" + std::to_string(e[0]->aref.first() + uint64_t(i)) + "}";
    };
    const std::string said = of_space(vm);
    CHECK(has(said, "\"refs\":1,\"pages_resident\":1,\"commit\":5,\"entries\":[{"));
    CHECK(has(said, private_one(0, "copy", "normal", 1)));
    CHECK(has(said, private_one(1, "copy", "sequential", 0)));
    CHECK(has(said, private_one(2, "none", "random", 0)));
    CHECK(has(said, private_one(3, "zero", "normal", 0)));
    CHECK(has(said,
              ",{\"start\":\"0x600000\",\"end\":\"0x601000\",\"prot\":\"rw-\",\"max\":\"rwx\","
              "\"inherit\":\"copy\",\"advice\":\"normal\",\"wired\":0,\"cow\":true,"
              "\"needs_copy\":true,\"name\":\"[heap]\",\"object\":null,\"offset\":0,"
              "\"amap\":null,\"slot\":0},"));
    CHECK(
        has(said, ",{\"start\":\"0x700000\",\"end\":\"0x702000\",\"prot\":\"r-x\",\"max\":\"rwx\","
                  "\"inherit\":\"share\",\"advice\":\"normal\",\"wired\":0,\"cow\":false,"
                  "\"needs_copy\":false,\"name\":\"a \\\"file\\\"\",\"object\":" +
                      id_of(object->get()) + ",\"offset\":4096,\"amap\":null,\"slot\":0}]"));
}

TEST_CASE("snapshot: anons, their references, and the mappings of two sides of a fork",
          "[snapshot]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 12);
    for (int i : {0, 1, 2, 3, 6, 7, 8, 11})
        store(parent, at + pages(i), uint8_t(i + 1));
    vm_ref child = fork_of(parent);
    store(child, at + pages(2), 99); // a copy of its own
    CHECK(load(child, at + pages(6)) == 7);

    vm_map_entry& theirs = *entries_of(parent)[0];
    vm_map_entry& its = *entries_of(child)[0];
    vm_amap& amap = *theirs.aref.amap();
    REQUIRE(&amap != its.aref.amap());
    std::vector<page_said> want;
    for (int i : {0, 1, 2, 3, 6, 7, 8, 11}) {
        const vaddr_t page = at + pages(i);
        want.push_back(
            {theirs.slot_of(page), frame_of(anon_page(theirs, page)), i == 2 ? "1" : "2"});
    }
    std::string said = written_by([&](text& t) { amap_snapshot_json(amap, t); });
    CHECK(has(said, "\"refs\":1,\"shared\":false,\"slots\":12,\"anons\":["));
    CHECK(pages_said(rows_of(said, "anons"), 3, 1) == want);

    // The child has mapped what it wrote and what it read; the parent what it wrote, read-only now.
    auto mapped = [](vm_ref& vm) {
        return pages_said(rows_of(of_space(vm), "ptes"), 2, page_size);
    };
    CHECK(mapped(child) ==
          std::vector<page_said>{
              {(at + pages(2)).value(), frame_at(child, at + pages(2)), "\"pwuad\""},
              {(at + pages(6)).value(), frame_at(child, at + pages(6)), "\"pua\""}});
    want.clear();
    for (int i : {0, 1, 2, 3, 6, 7, 8, 11})
        want.push_back({(at + pages(i)).value(), frame_at(parent, at + pages(i)), "\"puad\""});
    CHECK(mapped(parent) == want);
    // Eight of the pages by their table.
    std::vector<row> tables = rows_of(of_space(parent), "tables");
    REQUIRE(tables.size() == 3);
    CHECK(tables[1] == row{"1", "\"0x100000\"", tables[1][2], "\"puax\""});
    CHECK(tables[2][3] == "\"pwuax\"");
    tables = rows_of(of_space(child), "tables");
    REQUIRE(tables.size() == 2);
    CHECK(tables[0][3] == "\"\""); // the root
    CHECK(tables[1] == row{"1", "\"0x100000\"", tables[1][2], "\"pwuax\""});
    CHECK(vm_page_of(paddr_t(value_of(tables[1][2])))->owner_kind == page_owner::page_table);

    // For people: each line names the first page of a run.
    std::string lines = written_by([&](text& t) { entry_snapshot_anons(its, t); });
    char line[96];
    snprintf(line, sizeof line, "      anon %12lx     1 page  at %10lx  references 1\n",
             (at + pages(2)).value(), frame_at(child, at + pages(2)));
    CHECK(has(lines, line));
    lines = written_by([&](text& t) { entry_snapshot_mappings(*child, its, t); });
    snprintf(line, sizeof line, "    pte    %12lx     1 page  -> %10lx  rw- accessed dirty\n",
             (at + pages(2)).value(), frame_at(child, at + pages(2)));
    CHECK(has(lines, line));
    snprintf(line, sizeof line, "    pte    %12lx     1 page  -> %10lx  r-- accessed\n",
             (at + pages(6)).value(), frame_at(child, at + pages(6)));
    CHECK(has(lines, line));
}

TEST_CASE("snapshot: memory shared by inheritance, and wired", "[snapshot]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 2);
    store(parent, at, 1);
    REQUIRE(parent->inherit(at, pages(2), vm_inherit::share));
    vm_ref child = fork_of(parent);
    vm_map_entry& e = *entries_of(child)[0];
    std::string said = written_by([&](text& t) { amap_snapshot_json(*e.aref.amap(), t); });
    CHECK(has(said, "\"refs\":2,\"shared\":true,\"slots\":2,\"anons\":[["));
    child.reset();
    REQUIRE(parent->lock_pages(at, pages(2)));
    vm_map_entry& wired = *entries_of(parent)[0];
    CHECK(has(of_space(parent), "l\""));
    CHECK(
        has(written_by([&](text& t) { entry_snapshot_mappings(*parent, wired, t); }), " wired\n"));
}

TEST_CASE("snapshot: one page in many places is one run", "[snapshot]") {
    vm_world world;
    REQUIRE(uvm_zero_page());
    uvm_fault_ahead_enabled = false;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 5);
    for (int i = 0; i < 5; i++)
        CHECK(load(vm, at + pages(i)) == 0);
    CHECK(rows_of(of_space(vm), "ptes") ==
          std::vector<row>{{"\"0x100000\"", "5", hex(frame_of(uvm_zero_page())), "\"pua\"", "0"}});
    std::string none = written_by([&](text& t) {
        entry_snapshot_anons(*entries_of(vm)[0], t); // there is no amap
        entry_snapshot_pages(*entries_of(vm)[0], t); // nor an object
    });
    CHECK(none == "");
}

TEST_CASE("snapshot: an object's resident pages, clean and dirty", "[snapshot]") {
    vm_world world;
    auto made = uvm_aobj::create(pages(20), "shared \x01 memory", uvm_aobj::charging::nothing);
    REQUIRE(made);
    ref_ptr<uvm_aobj> object = *made;
    const std::vector<uint64_t> resident = {0, 1, 2, 9, 10, 19};
    std::vector<uint64_t> frames;
    for (uint64_t i : resident) {
        auto held = object->hold(i, uvm_aobj::purpose::write);
        REQUIRE(held);
        lock_guard guard(object->lock());
        vm_page* page = object->lookup(i);
        page->clean = i == 2;
        frames.push_back(frame_of(page));
    }
    std::string said = written_by([&](text& t) { object_snapshot_json(*object, t); });
    CHECK(has(said, "\"kind\":\"anon\",\"name\":\"shared \\u0001 memory\",\"refs\":2,\"pages\":["));
    std::vector<page_said> want;
    for (size_t i = 0; i < resident.size(); i++)
        want.push_back({resident[i], frames[i], resident[i] == 2 ? "\"\"" : "\"d\""});
    CHECK(pages_said(rows_of(said, "pages"), 2, 1) == want);

    // Of an entry: what it maps of the object, and no more.
    vm_ref vm = new_space();
    map_object(vm, 0x200000, 8, object, true, pages(2));
    std::string lines = written_by([&](text& t) { entry_snapshot_pages(*entries_of(vm)[0], t); });
    char line[96];
    snprintf(line, sizeof line, "      page       200000     1 page  at %10lx  index 2\n",
             frames[2]);
    CHECK(lines.substr(0, lines.find('\n') + 1) == line);
    CHECK(has(lines, "      page       207000 "));
    CHECK(has(lines, "index 9, dirty\n"));
    CHECK_FALSE(has(lines, "index 10"));
    CHECK_FALSE(has(lines, "index 19"));
}

TEST_CASE("snapshot: frames that go up or down are one run, others are not", "[snapshot]") {
    vm_world world;
    // A block of neighbours, of which an object gets some: those that are free are given out.
    auto made = uvm_aobj::create(pages(64), "x", uvm_aobj::charging::nothing);
    REQUIRE(made);
    for (uint64_t i = 0; i < 64; i++)
        REQUIRE((*made)->hold(i, uvm_aobj::purpose::write));
    std::string said = written_by([&](text& t) { object_snapshot_json(**made, t); });
    const std::vector<row> rows = rows_of(said, "pages");
    const std::vector<page_said> all = pages_said(rows, 2, 1);
    REQUIRE(all.size() == 64);
    for (uint64_t i = 0; i < 64; i++) {
        lock_guard guard((*made)->lock());
        CHECK(all[i] == page_said{i, frame_of((*made)->lookup(i)), "\"d\""});
    }
    // No run could take the page behind it, too.
    uint64_t next = 0;
    for (const row& r : rows) {
        const uint64_t count = value_of(r[1]);
        next += count;
        if (next == all.size())
            break;
        const int64_t step = r.size() > 4 ? atoll(r[4].c_str()) : 1;
        const auto further = int64_t(all[next].frame - all[next - 1].frame) / int64_t(page_size);
        CHECK((count == 1 ? std::abs(further) > 1 : further != step));
    }
}
