// Names: directories, renaming, look-ups of paths, archives. All on file systems that the tests
// make and destroy.
#include "kernel/files/lookup.h"
#include "kernel/files/pipe.h"
#include "kernel/files/vfs.h"
#include "kernel/fs/cpio.h"
#include "kernel/fs/tmpfs.h"
#include "lib/format.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"

using namespace linux_abi;

namespace {

constexpr new_node directory_755{s_ifdir | 0755, 0, 0}, file_644{s_ifreg | 0644, 0, 0};

// A file system of its own for one test.
class scratch {
public:
    scratch() {
        auto made = tmpfs::create("tmpfs", directory_755, {});
        if (made)
            fs_ = *made;
    }
    ~scratch() {
        if (!fs_)
            return;
        fs_->check();
        EXPECT(!fs_->busy(0));
        fs_->destroy();
    }
    explicit operator bool() const { return fs_; }
    tmpfs& fs() { return *fs_; }
    ref_ptr<vnode> root() { return fs_->root(); }

    // Makes everything that a path names; a slash at the end makes it a directory.
    ref_ptr<vnode> make(const char* path) {
        ref_ptr<vnode> at = root();
        std::string_view rest = path;
        while (!rest.empty()) {
            size_t slash = rest.find('/');
            std::string_view name = rest.substr(0, slash);
            bool directory = slash != rest.npos;
            rest.remove_prefix(directory ? slash + 1 : rest.size());
            auto next = at->lookup(name);
            if (!next)
                next = at->create(name, directory ? directory_755 : file_644);
            if (!next)
                return {};
            at = *next;
        }
        return at;
    }
    void link(const char* name, const char* target) {
        EXPECT(root()->create(name, {s_iflnk | 0777, 0, 0, 0, target}).has_value());
    }
    // The vnode of a path that begins at the scratch's root; null when there is none.
    ref_ptr<vnode> find(const char* path) {
        auto found = look_up(path, true);
        return found ? *found : nullptr;
    }
    expected<ref_ptr<vnode>> look_up(const char* path, bool follow) {
        path_walk walk(root(), path);
        TRY(walk.to_last());
        return walk.last(follow);
    }

private:
    tmpfs* fs_ = nullptr;
};

template <class T> Errno error_of(const expected<T>& result) {
    return result ? Errno{} : result.error();
}

} // namespace

KTEST(tmpfs, directory_finds_what_it_has) {
    scratch s;
    REQUIRE(s);
    constexpr unsigned count = 500; // the table grows several times
    char name[16];
    for (unsigned i = 0; i < count; i++) {
        format_to(name, sizeof(name), "f%u", i);
        REQUIRE(s.root()->create(name, file_644).has_value());
    }
    s.fs().check();
    EXPECT_EQ(error_of(s.root()->create("f7", file_644)), Errno::exist);
    for (unsigned i = 0; i < count; i += 2) {
        format_to(name, sizeof(name), "f%u", i);
        EXPECT(s.root()->remove(name, false).has_value());
    }
    s.fs().check();
    for (unsigned i = 0; i < count; i++) {
        format_to(name, sizeof(name), "f%u", i);
        EXPECT_EQ(s.root()->lookup(name).has_value(), i % 2 == 1);
    }
    EXPECT_EQ(s.fs().node_count(), 1 + count / 2);
}

namespace {

// Takes `room` entries at a time.
class counting_sink final : public dir_sink {
public:
    explicit counting_sink(unsigned room) : room_(room) {}
    bool add(std::string_view name, uint64_t, uint8_t, uint64_t) override {
        if (taken_ == room_)
            return false;
        taken_++;
        if (name.size() > 1 && name[0] == 'f')
            numbers_ |= uint64_t{1} << (name[1] - 'a');
        return true;
    }
    unsigned taken() const { return taken_; }
    uint64_t numbers() const { return numbers_; }

private:
    unsigned room_, taken_ = 0;
    uint64_t numbers_ = 0;
};

} // namespace

KTEST(tmpfs, reading_a_directory_survives_changes) {
    scratch s;
    REQUIRE(s);
    char name[] = "f?";
    for (char c = 'a'; c <= 'z'; c++) {
        name[1] = c;
        REQUIRE(s.root()->create(name, file_644).has_value());
    }
    uint64_t seen = 0, position = 0;
    unsigned entries = 0;
    for (unsigned round = 0;; round++) {
        counting_sink sink(5);
        REQUIRE(s.root()->read_directory(position, sink).has_value());
        seen |= sink.numbers();
        entries += sink.taken();
        if (sink.taken() == 0)
            break;
        // What has been read goes away; what has not stays to be found.
        if (round == 1) {
            EXPECT(s.root()->remove("fa", false).has_value());
            EXPECT(s.root()->remove("fc", false).has_value());
        }
    }
    EXPECT_EQ(seen, (uint64_t{1} << 26) - 1);
    EXPECT_EQ(entries, 28u); // "." and ".." too
}

KTEST(tmpfs, rename_follows_the_rules) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> root = s.root(), a = s.make("a/"), b = s.make("a/b/"), c = s.make("c/");
    ref_ptr<vnode> file = s.make("file"), other = s.make("other");
    REQUIRE(a && b && c && file && other);

    EXPECT_EQ(error_of(root->rename("a", *b, "x", 0)), Errno::inval);    // below itself
    EXPECT_EQ(error_of(root->rename("a", *a, "x", 0)), Errno::inval);    // into itself
    EXPECT_EQ(error_of(a->rename("b", *root, "a", 0)), Errno::notempty); // over its parent
    EXPECT_EQ(error_of(root->rename("file", *root, "c", 0)), Errno::isdir);
    EXPECT_EQ(error_of(root->rename("c", *root, "file", 0)), Errno::notdir);
    EXPECT_EQ(error_of(root->rename("gone", *root, "x", 0)), Errno::noent);
    EXPECT_EQ(error_of(root->rename("file", *root, "other", rename_noreplace)), Errno::exist);
    EXPECT_EQ(error_of(root->rename("file", *root, "gone", rename_exchange)), Errno::noent);
    s.fs().check();

    // Over another file, which is gone then.
    EXPECT(root->rename("file", *root, "other", 0).has_value());
    EXPECT(!s.find("file"));
    EXPECT(s.find("other").get() == file.get());
    EXPECT_EQ(other->attributes().links, 0u);
    // A directory over an empty one in another place: ".." changes.
    EXPECT(a->rename("b", *root, "c", 0).has_value());
    EXPECT(s.find("c").get() == b.get());
    EXPECT(b->parent().get() == root.get());
    EXPECT_EQ(a->attributes().links, 2u);
    EXPECT_EQ(root->attributes().links, 4u);
    s.fs().check();
    // A file and a directory change places.
    EXPECT(root->rename("other", *a, "x", 0).has_value());
    EXPECT(root->rename("c", *a, "x", rename_exchange).has_value());
    EXPECT(s.find("c").get() == file.get());
    EXPECT(s.find("a/x").get() == b.get());
    s.fs().check();
    // Two names of one file: nothing happens.
    EXPECT(root->link("c2", *file).has_value());
    EXPECT(root->rename("c", *root, "c2", 0).has_value());
    EXPECT(s.find("c") && s.find("c2"));
    EXPECT_EQ(file->attributes().links, 2u);
}

KTEST(tmpfs, removed_directories_keep_their_parents) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> a = s.make("a/"), b = s.make("a/b/");
    REQUIRE(a && b);
    EXPECT_EQ(error_of(s.root()->remove("a", true)), Errno::notempty);
    EXPECT(a->remove("b", true).has_value());
    EXPECT(s.root()->remove("a", true).has_value());
    EXPECT(b->parent().get() == a.get());
    EXPECT(a->parent().get() == s.root().get());
    EXPECT_EQ(error_of(b->create("x", file_644)), Errno::noent);
    char name[name_max + 1];
    EXPECT_EQ(error_of(b->name_in_parent(name)), Errno::noent);
}

// A chain of removed directories ends in a loop, not by as many calls as it is long.
KTEST(tmpfs, a_long_chain_of_removed_directories_ends) {
    scratch s;
    REQUIRE(s);
    constexpr unsigned depth = 3000;
    ref_ptr<vnode> deepest = s.root();
    for (unsigned i = 0; i < depth; i++) {
        auto next = deepest->create("d", directory_755);
        REQUIRE(next.has_value());
        deepest = *next;
    }
    EXPECT(s.find("d/d/../d").get() == s.find("d/d").get());
    for (ref_ptr<vnode> at = deepest; at.get() != s.root().get();) {
        ref_ptr<vnode> up = at->parent();
        REQUIRE(up->remove("d", true).has_value());
        at = up;
    }
    EXPECT_EQ(s.fs().node_count(), 1 + depth);
    deepest.reset();
    EXPECT_EQ(s.fs().node_count(), 1u);
}

KTEST(tmpfs, paths_lead_where_they_say) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> target = s.make("a/b/file"), b = s.make("a/b/");
    s.link("to_file", "a/b/file");
    s.link("to_dir", "a/./b/");
    s.link("twice", "to_dir");
    s.link("dangling", "a/nothing");
    s.link("loop", "loop");
    EXPECT(s.find("a/b/file").get() == target.get());
    EXPECT(s.find("a//b/.././b/file").get() == target.get());
    EXPECT(s.find("to_file").get() == target.get());
    EXPECT(s.find("twice/file").get() == target.get());
    EXPECT(s.find("a/b/..").get() == s.find("a").get());
    EXPECT(s.find("to_dir/").get() == b.get());
    EXPECT((*s.look_up("to_dir", false))->is_symlink());
    EXPECT(!(*s.look_up("to_dir/", false))->is_symlink()); // the slash asks for what it leads to
    EXPECT_EQ(error_of(s.look_up("loop", true)), Errno::loop);
    EXPECT_EQ(error_of(s.look_up("loop/x", true)), Errno::loop);
    EXPECT_EQ(error_of(s.look_up("to_file/", true)), Errno::notdir);
    EXPECT_EQ(error_of(s.look_up("to_file/x", true)), Errno::notdir);
    EXPECT_EQ(error_of(s.look_up("nothing/x", true)), Errno::noent);
    EXPECT_EQ(error_of(s.look_up("", true)), Errno::noent);

    char longest[name_max + 2];
    memset(longest, 'n', sizeof(longest));
    longest[name_max + 1] = '\0';
    EXPECT_EQ(error_of(s.look_up(longest, true)), Errno::nametoolong);

    // Where a dangling link's file would be made.
    path_walk walk(s.root(), "dangling");
    REQUIRE(walk.to_last().has_value());
    auto none = walk.last(true);
    REQUIRE(none.has_value());
    EXPECT(!*none);
    EXPECT(walk.name() == "nothing");
    EXPECT(&walk.directory() == s.find("a").get());
}

KTEST(tmpfs, forty_links_are_followed_and_no_more) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> file = s.make("l0");
    char name[8], target[8];
    for (unsigned i = 1; i <= symlink_max + 1; i++) {
        format_to(name, sizeof(name), "l%u", i);
        format_to(target, sizeof(target), "l%u", i - 1);
        s.link(name, target);
    }
    EXPECT(s.find("l40").get() == file.get());
    EXPECT_EQ(error_of(s.look_up("l41", true)), Errno::loop);
}

KTEST(tmpfs, a_file_has_as_many_names_as_there_is_memory_for) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> file = s.make("file");
    REQUIRE(file);
    constexpr unsigned more = 65'100;
    char name[16];
    unsigned linked = 0;
    for (; linked < more; linked++) {
        format_to(name, sizeof(name), "l%u", linked);
        if (!s.root()->link(name, *file))
            break;
    }
    EXPECT_EQ(linked, more);
    EXPECT_EQ(file->attributes().links, linked + 1);
}

// Whichever comes first, the other one fails.
KTEST(tmpfs, a_removed_directory_takes_no_mount) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> gone = s.make("gone/"), kept = s.make("kept/");
    REQUIRE(gone && kept);
    EXPECT(s.root()->remove("gone", true).has_value());
    auto fs = tmpfs::create("tmpfs", directory_755, {});
    REQUIRE(fs.has_value());
    EXPECT_EQ(error_of(mount_on(gone, **fs, "none")), Errno::noent);
    EXPECT(mount_on(kept, **fs, "none").has_value());
    EXPECT_EQ(error_of(s.root()->remove("kept", true)), Errno::busy);
    EXPECT(unmount((*fs)->root()).has_value());
    EXPECT(s.root()->remove("kept", true).has_value());
}

KTEST(tmpfs, takes_no_node_of_another_file_system) {
    scratch one, two;
    REQUIRE(one && two);
    ref_ptr<vnode> file = one.make("d/file"), other = two.make("e/file");
    REQUIRE(file && other);
    auto ends = pipe_make(0);
    REQUIRE(ends.has_value());
    EXPECT_EQ(error_of(one.root()->link("name", *other)), Errno::xdev);
    EXPECT_EQ(error_of(one.root()->link("name", *ends->read->node())), Errno::xdev);
    EXPECT_EQ(error_of(one.root()->rename("d", *two.root(), "d", 0)), Errno::xdev);
    EXPECT_EQ(error_of(one.root()->rename("d", *ends->read->node(), "d", 0)), Errno::xdev);
    EXPECT(one.find("d/file").get() == file.get());
}

KTEST(tmpfs, truncation_gives_pages_back) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> file = s.make("file");
    REQUIRE(file);
    REQUIRE(file->get_write_access().has_value());
    auto opened = file->open(o_rdwr);
    REQUIRE(opened.has_value());

    char bytes[100];
    memset(bytes, 'x', sizeof(bytes));
    constexpr uint64_t far = 10 * page_size - 50;
    uio out(uio::direction::write, bytes, sizeof(bytes));
    EXPECT_EQ((*opened)->write_at(out, far).value_or(-1), 100);
    EXPECT_EQ(file->attributes().size, far + 100);
    EXPECT_EQ(file->memory()->resident_pages(), 2u); // the rest is a hole
    EXPECT(file->truncate(far + 10).has_value());
    EXPECT_EQ(file->memory()->resident_pages(), 1u);
    EXPECT(file->truncate(far + 100).has_value());
    // What was cut off reads as zeros now.
    uio in(uio::direction::read, bytes, sizeof(bytes));
    EXPECT_EQ((*opened)->read_at(in, far).value_or(-1), 100);
    EXPECT_EQ(bytes[9], 'x');
    EXPECT_EQ(bytes[10], '\0');
    EXPECT_EQ(bytes[99], '\0');
    EXPECT_EQ(error_of(file->deny_write_access()), Errno::txtbsy);
    opened->reset();
    EXPECT(file->deny_write_access().has_value());
    EXPECT_EQ(error_of(file->get_write_access()), Errno::txtbsy);
    file->allow_write_access();
}

KTEST(tmpfs, pages_are_charged_for) {
    scratch s;
    REQUIRE(s);
    ref_ptr<vnode> file = s.make("file");
    REQUIRE(file);
    REQUIRE(file->get_write_access().has_value());
    auto opened = file->open(o_rdwr);
    REQUIRE(opened.has_value());
    ref_ptr<page_quota> quota = s.fs().quota();
    const uint64_t committed = uvm_commit::committed();
    auto both_are = [&](uint64_t pages) {
        EXPECT_EQ(quota->look().used, pages);
        EXPECT_EQ(uvm_commit::committed() - committed, pages);
    };
    EXPECT((*opened)->truncate(9 * page_size).has_value());
    both_are(0); // a hole is nothing
    char bytes[100] = {};
    uio out(uio::direction::write, bytes, sizeof(bytes));
    EXPECT((*opened)->write_at(out, 2 * page_size - 50).has_value());
    both_are(2);
    EXPECT((*opened)->allocate(0, 4 * page_size, false).has_value());
    both_are(4);
    // Nothing comes of what cannot be had as a whole: too much for the quota, for the account, or
    // for memory.
    EXPECT(quota->set_limit(6).has_value());
    EXPECT_EQ(error_of((*opened)->allocate(0, 7 * page_size, false)), Errno::nospc);
    both_are(4);
    EXPECT(quota->set_limit(page_quota::unlimited).has_value());
    uvm_commit::set_mode(uvm_commit::mode::strict);
    uvm_commit::set_kbytes((uvm_commit::committed() + 1) * (page_size / 1024));
    EXPECT_EQ(error_of((*opened)->allocate(0, 6 * page_size, false)), Errno::nospc);
    uvm_commit::set_mode(uvm_commit::mode::heuristic);
    uvm_commit::set_kbytes(0);
    uvm_commit::set_ratio(50);
    both_are(4);
    alloc_fail_after(2);
    EXPECT_EQ(error_of((*opened)->allocate(0, 8 * page_size, false)), Errno::nomem);
    alloc_fail_after(0);
    EXPECT_EQ(quota->look().used, 2u); // what was written; the rest reads as zeros anyhow
    EXPECT((*opened)->punch(page_size, page_size).has_value());
    both_are(1);
    EXPECT((*opened)->truncate(0).has_value());
    both_are(0);
    opened->reset();
}

KTEST(tmpfs, running_out_of_memory_leaves_no_trace) {
    scratch s;
    REQUIRE(s);
    s.make("d/");
    s.make("f");
    for (uint64_t n = 1; n <= 12; n++) {
        uint64_t nodes = s.fs().node_count();
        alloc_fail_after(n);
        auto made = s.root()->create("new", file_644);
        status renamed = s.root()->rename("f", *s.root(), "g", 0);
        alloc_fail_after(0);
        if (made)
            EXPECT(s.root()->remove("new", false).has_value());
        else
            EXPECT_EQ(s.fs().node_count(), nodes);
        made = fail(Errno::noent);
        if (renamed)
            EXPECT(s.root()->rename("g", *s.root(), "f", 0).has_value());
        EXPECT(s.find("f") && !s.find("g"));
        s.fs().check();
    }
}

// ---- Archives --------------------------------------------------------------------------------

namespace {

// Writes newc entries.
class archive_writer {
public:
    void entry(const char* name, uint32_t mode, std::string_view data, uint32_t inode,
               uint32_t links) {
        char header[120];
        size_t name_size = strlen(name) + 1;
        format_to(header, sizeof(header),
                  "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", inode, mode, 0u, 0u,
                  links, 1000000000u, unsigned(data.size()), 0u, 0u, 0u, 0u, unsigned(name_size),
                  0u);
        put({header, 110});
        put({name, name_size});
        pad();
        put(data);
        pad();
    }
    void end() {
        entry("TRAILER!!!", 0, "", 0, 1);
        size_ += 37 * 4; // zero bytes between archives
    }
    std::string_view text() const { return {text_, size_}; }

private:
    void put(std::string_view s) {
        memcpy(text_ + size_, s.data(), s.size());
        size_ += s.size();
    }
    void pad() { size_ = (size_ + 3) & ~size_t{3}; }
    char text_[4096] = {};
    size_t size_ = 0;
};

// Writes over what has been read.
class overwriter final : public cpio_memory {
public:
    explicit overwriter(std::string_view archive) : at_(const_cast<char*>(archive.data())) {}
    void read_until(const char* end) override {
        EXPECT(end >= at_);
        memset(at_, 0xff, size_t(end - at_));
        at_ += end - at_;
    }
    const char* at() const { return at_; }

private:
    char* at_;
};

} // namespace

KTEST(cpio, unpacks_one_archive_over_another) {
    scratch s;
    kmem_array<archive_writer> storage(1);
    REQUIRE(s && storage);
    archive_writer& w = storage[0];
    w.entry("etc", s_ifdir | 0700, "", 1, 2);
    w.entry("etc/motd", s_ifreg | 0644, "first", 2, 1);
    w.entry("deep/er/file", s_ifreg | 0600, "made", 3, 1); // without its directories
    w.entry("one", s_ifreg | 0644, "", 4, 2);
    w.entry("two", s_ifreg | 0644, "shared", 4, 2);
    w.entry("link", s_iflnk | 0777, "etc/motd", 5, 1);
    w.end();
    w.entry("etc", s_ifdir | 0755, "", 1, 2);
    w.entry("etc/motd", s_ifreg | 0640, "second", 4, 1);
    w.end();
    EXPECT(cpio_recognised(w.text()));
    overwriter memory(w.text());
    auto done = cpio_unpack(w.text(), s.root(), &memory);
    REQUIRE(done.has_value());
    EXPECT(!done->damaged);
    EXPECT_EQ(done->entries, 8u);
    EXPECT(memory.at() > w.text().data() + w.text().size() - 256); // but for zeros at the end

    ref_ptr<vnode> motd = s.find("link");
    REQUIRE(motd && s.find("deep/er/file") && s.find("one"));
    EXPECT_EQ(motd->attributes().size, 6u);
    auto contents = motd->memory()->hold(0, uvm_aobj::purpose::read);
    REQUIRE(contents.has_value() && *contents);
    EXPECT_EQ(memcmp(contents->data(), "second", 6), 0);
    EXPECT_EQ(motd->attributes().mode, uint32_t(s_ifreg | 0640));
    EXPECT_EQ(motd->attributes().mtime, 1000000000ull * nanos_per_second);
    EXPECT_EQ(s.find("etc")->attributes().mode, uint32_t(s_ifdir | 0755));
    EXPECT(s.find("one").get() == s.find("two").get());
    EXPECT_EQ(s.find("one")->attributes().size, 6u);
    EXPECT_EQ(s.find("one")->attributes().links, 2u);
}

KTEST(cpio, survives_a_damaged_archive) {
    scratch s;
    kmem_array<archive_writer> storage(1);
    REQUIRE(s && storage);
    archive_writer& w = storage[0];
    w.entry("file", s_ifreg | 0644, "contents", 1, 1);
    w.entry("more", s_ifreg | 0644, "contents", 2, 1);
    for (size_t size = 0; size < w.text().size(); size += 7) {
        auto done = cpio_unpack(w.text().substr(0, size), s.root());
        EXPECT(done.has_value());
    }
    EXPECT(!cpio_recognised("070702 is another format"));
}
