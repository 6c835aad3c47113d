#include "kernel/files/lookup.h"

#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/permission.h"
#include "kernel/process/sync_point.h"
#include "kernel/process/thread.h"
#include "lib/long_work.h"
#include "lib/string.h"

path_walk::path_walk(ref_ptr<vnode> start, const char* path)
    : directory_(path[0] == '/' ? root_directory() : std::move(start)), rest_(path) {}

expected<ref_ptr<vnode>> path_walk::step(std::string_view name) {
    if (name.empty() || name == ".")
        return directory_;
    if (name == "..")
        return parent_across_mounts(*directory_);
    return cross_down(TRY(directory_->lookup(name)));
}

status path_walk::expand(vnode& link, std::string_view rest) {
    if (++links_followed_ > symlink_max)
        return fail(Errno::loop);
    if (ref_ptr<vnode> jump = TRY(link.follow_link())) {
        // It takes the place of the directory: without further components it is the last one.
        directory_ = std::move(jump);
        rest_ = rest.data();
        return {};
    }
    kmem_array<char> target(path_max);
    if (!target)
        return fail(Errno::nomem);
    size_t length = TRY(link.read_link(target.data(), path_max));
    if (length == 0)
        return fail(Errno::noent);
    // The rest starts with the slash that ended the link's name, if anything followed it.
    if (length + rest.size() >= 16 * path_max)
        return fail(Errno::nametoolong);
    kmem_array<char> text(length + rest.size() + 1);
    if (!text)
        return fail(Errno::nomem);
    memcpy(text.data(), target.data(), length);
    memcpy(text.data() + length, rest.data(), rest.size());
    if (text[0] == '/')
        directory_ = root_directory();
    buffer_ = std::move(text);
    rest_ = buffer_.data();
    return {};
}

status path_walk::to_last() {
    if (!*rest_ && links_followed_ == 0)
        return fail(Errno::noent);
    for (;;) {
        TRY(long_work::go_on());
        const bool slash = *rest_ == '/';
        while (*rest_ == '/')
            rest_++;
        const char* end = rest_;
        while (*end && *end != '/')
            end++;
        name_ = {rest_, size_t(end - rest_)};
        if (name_.size() > name_max)
            return fail(Errno::nametoolong);
        if (!name_.empty()) {
            if (!directory_->is_directory())
                return fail(Errno::notdir);
            TRY(check_access(*directory_, may_execute));
        }
        const char* after = end;
        while (*after == '/')
            after++;
        if (!*after) {
            trailing_slash_ = after != end || (name_.empty() && slash);
            return {};
        }
        ref_ptr<vnode> next = TRY(step(name_));
        if (next->is_symlink()) {
            TRY(expand(*next, end));
            continue;
        }
        if (!next->is_directory())
            return fail(Errno::notdir);
        directory_ = std::move(next);
        rest_ = after;
    }
}

expected<ref_ptr<vnode>> path_walk::last(bool follow) {
    for (;;) {
        auto node = step(name_);
        if (!node) {
            if (node.error() == Errno::noent)
                return ref_ptr<vnode>();
            return fail(node.error());
        }
        // Where a link to a vnode has led is not followed any further.
        if (!name_.empty() && (*node)->is_symlink() && (follow || trailing_slash_)) {
            const char* end = name_.data() + name_.size();
            TRY(expand(**node, end));
            TRY(to_last());
            continue;
        }
        if (trailing_slash_ && !(*node)->is_directory())
            return fail(Errno::notdir);
        return node;
    }
}

expected<ref_ptr<vnode>> start_directory(int at_fd, const char* path) {
    if (!path[0])
        return fail(Errno::noent);
    if (path[0] == '/')
        return root_directory();
    if (at_fd == at_fdcwd)
        return current_thread().fs->current_directory();
    auto f = TRY(current_thread().files->get(at_fd));
    if (!f->node()->is_directory())
        return fail(Errno::notdir);
    return ref_ptr<vnode>(f->node());
}

expected<ref_ptr<vnode>> lookup_path(int at_fd, const char* path, bool follow) {
    path_walk walk(TRY(start_directory(at_fd, path)), path);
    TRY(walk.to_last());
    ref_ptr<vnode> node = TRY(walk.last(follow));
    if (!node)
        return fail(Errno::noent);
    at_sync_point(sync_point::object_found);
    return node;
}
