#include "kernel/proc/procfs.h"

#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/mount.h"
#include "kernel/files/permission.h"
#include "kernel/files/vnode_file.h"
#include "kernel/proc/procfs_node.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "lib/format.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/pool.h"

#include <algorithm>

using namespace linux_abi;

namespace {

class procfs;

class proc_node final : public vnode {
public:
    proc_node(procfs& fs, const proc_entry& entry, const proc_subject& of,
              ref_ptr<proc_node> parent, uint64_t inode, const new_node& is);
    void last_reference_gone() override;

    vattr attributes() override;
    expected<ref_ptr<vnode>> lookup(std::string_view name) override;
    status read_directory(uint64_t& position, dir_sink& sink) override;
    expected<ref_ptr<process>> described_process() override;
    ref_ptr<vnode> parent() override;
    expected<ref_ptr<vnode>> name_in_parent(char* out) override;
    expected<size_t> read_link(char* out, size_t size) override;
    expected<ref_ptr<vnode>> follow_link() override;
    expected<ref_ptr<file>> open(uint32_t flags) override;
    status truncate(uint64_t) override { return {}; } // `echo 1 > FILE` opens with O_TRUNC

    const proc_entry& entry() const { return entry_; }

private:
    status attributes_changeable() override { return fail(Errno::perm); }
    expected<ref_ptr<vnode>> make_child(const proc_entry& entry, const proc_subject& of);
    template <class Take> auto take_if_accessible(Take take) -> decltype(take());

    procfs& fs_;
    const proc_entry& entry_;
    const proc_subject of_;
    const ref_ptr<proc_node> parent_; // null: the root. At most a handful deep.
};
constinit pool<proc_node> proc_nodes{"proc_node"};

class procfs final : public file_system {
public:
    procfs() : file_system("proc") {}
    void destroy() override;
    ref_ptr<vnode> root() override { return root_; }
    uint64_t magic() const override { return 0x9fa0; }
    bool busy(unsigned root_references) override {
        // Every node refers, by its parents, to the root.
        return root_->references() > 1 + root_references;
    }
    ref_ptr<proc_node> root_;
};
constinit pool<procfs> procfs_systems{"procfs"};

void procfs::destroy() {
    root_.reset();
    procfs_systems.destroy(this);
}

proc_node::proc_node(procfs& fs, const proc_entry& entry, const proc_subject& of,
                     ref_ptr<proc_node> parent, uint64_t inode, const new_node& is)
    : vnode(fs, inode, is), fs_(fs), entry_(entry), of_(of), parent_(std::move(parent)) {}

void proc_node::last_reference_gone() { proc_nodes.destroy(this); }

// The same file has the same number at each look-up (64-bit FNV-1a over what identifies it).
uint64_t inode_of(const proc_entry& entry, const proc_subject& of) {
    uint64_t parts[] = {reinterpret_cast<uint64_t>(&entry), uint64_t(of.pid), uint64_t(of.tid),
                        uint64_t(of.fd)};
    uint64_t h = 14695981039346656037u;
    for (uint64_t part : parts)
        for (int i = 0; i < 8; i++)
            h = (h ^ (part >> (8 * i) & 0xff)) * 1099511628211u;
    return h >> 16 | 1;
}

bool leads_to_files(const proc_entry& entry) { return entry.numbers && entry.numbers->entry->jump; }

// Files of a process belong to its user; those of one that is not to be looked into to root, but
// for the directories that everybody may read. Its own descriptors a program finds in any case.
new_node describe(const proc_entry& entry, const proc_subject& of) {
    new_node is{entry.mode, 0, 0};
    if (!of.pid)
        return is;
    if (ref_ptr<process> p = of.find_process()) {
        const bool everybodys = entry.mode == (s_ifdir | 0555);
        const bool own = p.get() == &current_process() && leads_to_files(entry);
        lock_guard guard(p->lock);
        const security_context& context = *p->context;
        if (everybodys || own || !context.vm || context.dumpable) {
            is.uid = own ? context.cred.fsuid : context.cred.euid;
            is.gid = own ? context.cred.fsgid : context.cred.egid;
        }
    }
    return is;
}

expected<ref_ptr<vnode>> proc_node::make_child(const proc_entry& entry,
                                               const proc_subject& subject) {
    proc_subject of = subject;
    if (!of.bind())
        return fail(Errno::noent);
    auto* node = proc_nodes.create(fs_, entry, of, ref_ptr<proc_node>(this), inode_of(entry, of),
                                   describe(entry, of));
    if (!node)
        return fail(Errno::nomem);
    return ref_ptr<vnode>(ref_ptr<proc_node>::adopt(node));
}

vattr proc_node::attributes() {
    vattr a = vnode::attributes();
    const new_node now = describe(entry_, of_); // it may have changed its user since
    a.uid = now.uid;
    a.gid = now.gid;
    a.links = is_directory() ? 2 : 1;
    return a;
}

// A decimal number without leading zeros; -1 if it is none.
int64_t parse_number(std::string_view text) {
    if (text.empty() || text.size() > 9 || (text[0] == '0' && text.size() > 1))
        return -1;
    int64_t n = 0;
    for (char c : text) {
        if (c < '0' || c > '9')
            return -1;
        n = n * 10 + (c - '0');
    }
    return n;
}

expected<ref_ptr<vnode>> proc_node::lookup(std::string_view name) {
    if (!is_directory())
        return fail(Errno::notdir);
    if (of_.gone()) // as Linux, which asks for the permission to search first, in /proc/PID
        return fail(&entry_ == &proc_process_entry ? Errno::srch : Errno::noent);
    for (const proc_entry& e : entry_.children)
        if (name == e.name)
            return make_child(e, of_);
    if (const proc_numbers* numbers = entry_.numbers) {
        int64_t n = parse_number(name);
        proc_subject of = of_;
        if (n >= 0 && numbers->next(of_, n) == n) {
            numbers->choose(of, n);
            return make_child(*numbers->entry, of);
        }
        if (n >= 0 && numbers->choose_unlisted && numbers->choose_unlisted(of, n))
            return make_child(*numbers->entry, of);
    }
    return fail(Errno::noent);
}

// Positions: 0 and 1 "." and "..", then the table, then first_number + n for the number n.
constexpr uint64_t first_number = 256;

status proc_node::read_directory(uint64_t& position, dir_sink& sink) {
    if (!is_directory())
        return fail(Errno::notdir);
    if (of_.gone())
        return fail(Errno::noent);
    if (leads_to_files(entry_))
        TRY(take_if_accessible([] { return status(); }));
    while (position < 2) {
        proc_node& here = position == 1 && parent_ ? *parent_ : *this;
        if (!sink.add(position == 0 ? "." : "..", here.inode(), dirent_type(s_ifdir), position + 1))
            return {};
        position++;
    }
    while (position - 2 < entry_.children.size()) {
        const proc_entry& e = entry_.children[position - 2];
        if (!sink.add(e.name, inode_of(e, of_), dirent_type(e.mode), position + 1))
            return {};
        position++;
    }
    if (!entry_.numbers)
        return {};
    position = std::max(position, first_number);
    for (;;) {
        auto next = [&]() -> expected<int64_t> {
            return entry_.numbers->next(of_, int64_t(position - first_number));
        };
        const int64_t n = TRY(leads_to_files(entry_) ? take_if_accessible(next) : next());
        if (n < 0)
            return {};
        proc_subject of = of_;
        entry_.numbers->choose(of, n);
        char name[24];
        format_to(name, sizeof(name), "%lld", (long long)n);
        const proc_entry& e = *entry_.numbers->entry;
        if (!sink.add(name, inode_of(e, of), dirent_type(e.mode), first_number + uint64_t(n) + 1))
            return {};
        position = first_number + uint64_t(n) + 1;
    }
}

expected<ref_ptr<process>> proc_node::described_process() {
    if (&entry_ != &proc_process_entry)
        return fail(Errno::badf);
    ref_ptr<process> p = of_.find_process();
    if (!p)
        return fail(Errno::srch);
    return p;
}

ref_ptr<vnode> proc_node::parent() { return ref_ptr<vnode>(parent_ ? parent_.get() : this); }

expected<ref_ptr<vnode>> proc_node::name_in_parent(char* out) {
    if (!parent_)
        return fail(Errno::noent);
    const proc_numbers* numbers = parent_->entry_.numbers;
    if (numbers && numbers->entry == &entry_) {
        int number = of_.fd >= 0 ? of_.fd : of_.tid ? of_.tid : of_.pid;
        format_to(out, name_max + 1, "%d", number);
    } else {
        copy_string(out, name_max + 1, entry_.name);
    }
    return ref_ptr<vnode>(parent_);
}

expected<size_t> proc_node::read_link(char* out, size_t size) {
    if (!is_symlink())
        return fail(Errno::inval);
    text_buffer text;
    auto show = [&] {
        text.clear();
        return entry_.show(of_, text);
    };
    TRY(entry_.jump ? take_if_accessible(show) : show());
    if (!text.complete())
        return fail(Errno::nomem);
    size_t n = std::min(size, text.text().size());
    memcpy(out, text.text().data(), n);
    return n;
}

expected<ref_ptr<vnode>> proc_node::follow_link() {
    if (!entry_.jump)
        return ref_ptr<vnode>();
    return take_if_accessible([&] { return entry_.jump(of_); });
}

// What `take` gets of a process that the caller may look into: who it is and what it runs were the
// same before and after, so that what was got is of what he was asked for. EACCES, ESRCH; EINTR
// when the caller is about to die. May sleep.
template <class Take> auto proc_node::take_if_accessible(Take take) -> decltype(take()) {
    for (;;) {
        ref_ptr<process> p = of_.find_process();
        if (!p)
            return fail(Errno::srch);
        const auto context = process_context(*p);
        if (!may_access(*p, *context, access_mode::fscreds))
            return fail(Errno::acces);
        auto taken = take();
        if (process_context(*p) == context)
            return taken;
        TRY(long_work::go_on());
    }
}

// ---- Open files ------------------------------------------------------------------------------

// Keeps the text from one read to the next, and makes it again when reading starts over.
class proc_file final : public vnode_file {
public:
    proc_file(proc_node& node, const proc_subject& of, uint32_t flags)
        : vnode_file(node, flags), proc_(node), of_(of) {}
    ~proc_file() override {
        if (writable())
            node()->put_write_access();
    }
    void closed() override;
    expected<int64_t> read_at(uio& io, uint64_t offset) override;
    expected<int64_t> write_at(uio& io, uint64_t offset) override;
    status truncate(uint64_t) override { return {}; }
    uint64_t held() override { return kept_.load(std::memory_order_relaxed); }

protected:
    expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) override;

private:
    // Whether what is written reaches the program that the file was opened for. ESRCH.
    status check_program() const;

    proc_node& proc_; // node()
    const proc_subject of_;
    sleep_lock lock_{lock_rank::generated_text, "proc file"};
    text_buffer text_ GUARDED_BY(lock_);
    bool generated_ GUARDED_BY(lock_) = false;
    std::atomic<uint64_t> kept_{0}; // text_'s bytes
};
constinit pool<proc_file> proc_files{"proc_file"};

void proc_file::closed() { proc_files.destroy(this); }

expected<int64_t> proc_file::read_at(uio& io, uint64_t offset) {
    const proc_entry& entry = proc_.entry();
    if (entry.move)
        return entry.move(of_, io, offset);
    if (!entry.show)
        return fail(Errno::inval);
    lock_guard guard(lock_);
    if (offset == 0 || !generated_) {
        text_.clear();
        generated_ = false;
        const status shown = entry.show(of_, text_);
        const bool whole = shown && text_.complete();
        if (!whole)
            text_.clear();
        kept_.store(text_.capacity(), std::memory_order_relaxed);
        TRY(shown);
        if (!whole)
            return fail(Errno::nomem);
        generated_ = true;
    }
    std::string_view text = text_.text();
    if (offset >= text.size())
        return 0;
    uint64_t n = std::min<uint64_t>(io.remaining(), text.size() - offset);
    return io.result(io.move(const_cast<char*>(text.data()) + offset, n));
}

status proc_file::check_program() const {
    if (!of_.pid)
        return {};
    ref_ptr<process> p = of_.find_process();
    return p && process_program(*p) == of_.program ? status() : fail(Errno::srch);
}

expected<int64_t> proc_file::write_from(uio& io, uint64_t offset, uint64_t& end) {
    const proc_entry& entry = proc_.entry();
    if (entry.move) {
        const int64_t moved = TRY(entry.move(of_, io, offset));
        end = offset + uint64_t(moved);
        return moved;
    }
    char text[256];
    uint64_t size = io.remaining();
    if (!entry.store || size >= sizeof(text))
        return fail(Errno::inval);
    TRY(io.move(text, size));
    uint64_t length = size;
    while (length && (text[length - 1] == '\n' || text[length - 1] == '\0'))
        length--;
    text[length] = '\0';
    TRY(check_program());
    TRY(entry.store(of_, {text, length}));
    end = offset + size;
    return int64_t(size);
}

expected<int64_t> proc_file::write_at(uio& io, uint64_t offset) {
    uint64_t end;
    return write_from(io, offset, end);
}

expected<ref_ptr<file>> proc_node::open(uint32_t flags) {
    if (is_directory())
        return directory_open(*this, flags);
    if ((flags & o_accmode) != o_rdonly && !entry_.store && !entry_.move)
        return fail(Errno::acces);
    proc_subject of = of_;
    if (of.pid) {
        ref_ptr<process> p = of.find_process();
        if (!p)
            return fail(Errno::srch);
        const auto context = process_context(*p);
        if (entry_.of_memory && !may_access(*p, *context, access_mode::fscreds))
            return fail(Errno::acces);
        if (entry_.of_memory || entry_.store)
            of.program = context->program;
    }
    auto f = ref_ptr<file>::adopt(proc_files.create(*this, of, flags));
    if (!f)
        return fail(Errno::nomem);
    return f;
}

} // namespace

expected<file_system*> procfs_create() {
    procfs* fs = procfs_systems.create();
    if (!fs)
        return fail(Errno::nomem);
    auto* root = proc_nodes.create(*fs, proc_root_entry, proc_subject{}, ref_ptr<proc_node>(),
                                   uint64_t{1}, new_node{s_ifdir | 0555, 0, 0});
    if (!root) {
        procfs_systems.destroy(fs);
        return fail(Errno::nomem);
    }
    fs->root_ = ref_ptr<proc_node>::adopt(root);
    return fs;
}

// ---- Subjects --------------------------------------------------------------------------------

void print_kib(const char* name, uint64_t kib, text_buffer& out) {
    char with_colon[24];
    format_to(with_colon, sizeof with_colon, "%s:", name);
    out.print("%-15s %8llu kB\n", with_colon, static_cast<unsigned long long>(kib));
}

ref_ptr<process> proc_subject::find_process() const {
    ref_ptr<process> p = process_find(pid);
    return p && (!process_serial || p->serial.value() == process_serial) ? p : nullptr;
}

bool proc_subject::bind() {
    if (pid && !process_serial) {
        ref_ptr<process> p = find_process();
        if (!p)
            return false;
        process_serial = p->serial.value();
    }
    if (tid && !thread_serial) {
        ref_ptr<thread> t = find_thread();
        if (!t)
            return false;
        thread_serial = t->serial.value();
    }
    return true;
}

bool proc_subject::gone() const { return (pid && !find_process()) || (tid && !find_thread()); }

ref_ptr<thread> proc_subject::find_thread() const {
    if (tid) {
        ref_ptr<thread> t = thread_find(tid);
        const bool it = t && t->proc->pid == pid &&
                        (!process_serial || t->proc->serial.value() == process_serial) &&
                        (!thread_serial || t->serial.value() == thread_serial);
        return it ? t : nullptr; // else the number is another's
    }
    ref_ptr<process> p = find_process();
    if (!p)
        return {};
    lock_guard guard(process_tree_lock);
    if (p->threads.empty())
        return {};
    return ref_ptr<thread>(p->threads.front());
}

expected<ref_ptr<file>> proc_subject::find_file() const {
    ref_ptr<thread> t = find_thread();
    if (!t)
        return fail(Errno::noent);
    ref_ptr<fd_table> files;
    {
        lock_guard guard(t->lock);
        files = t->files;
    }
    if (!files)
        return fail(Errno::noent);
    auto f = files->get(fd);
    if (!f)
        return fail(Errno::noent);
    return f;
}
