// From paths to vnodes. Symbolic links are expanded in a loop, never by recursion.
#pragma once

#include "kernel/files/mount.h"
#include "vm/phys/pool.h"

#include <string_view>

inline constexpr int at_fdcwd = -100;

// Walks one path, component by component.
//
//     path_walk walk(start, "a/b/c");
//     TRY(walk.to_last());                 // everything but "c": directory() and name()
//     auto node = TRY(walk.last(true));    // "c" itself; null when there is none
//
// After last() of a name that is not there, directory() and name() say where it would be made,
// behind any symbolic links followed; name() is empty for "/", and may be "." or "..".
class path_walk {
public:
    // The path stays the caller's.
    path_walk(ref_ptr<vnode> start, const char* path);

    // ENOENT ENOTDIR EACCES ELOOP ENAMETOOLONG ENOMEM. May sleep.
    status to_last();
    // `follow`: a symbolic link there is followed (with a slash after it, it always is).
    expected<ref_ptr<vnode>> last(bool follow);

    vnode& directory() const { return *directory_; }
    ref_ptr<vnode> directory_reference() const { return directory_; }
    std::string_view name() const { return name_; }
    bool dot_name() const { return name_.empty() || name_ == "." || name_ == ".."; }
    bool trailing_slash() const { return trailing_slash_; }

private:
    expected<ref_ptr<vnode>> step(std::string_view name);
    // Puts a link's text before the rest of the path, or goes where it leads.
    status expand(vnode& link, std::string_view rest);

    ref_ptr<vnode> directory_;
    const char* rest_;        // not yet walked
    kmem_array<char> buffer_; // holds rest_ once a link has been expanded
    std::string_view name_;
    bool trailing_slash_ = false;
    unsigned links_followed_ = 0;
};

// Where relative paths of a call with `at_fd` start: its directory, or the current one. EBADF
// ENOTDIR.
expected<ref_ptr<vnode>> start_directory(int at_fd, const char* path);
// The vnode of a path. ENOENT when it is not there.
expected<ref_ptr<vnode>> lookup_path(int at_fd, const char* path, bool follow);
