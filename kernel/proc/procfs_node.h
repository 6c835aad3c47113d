// Inside procfs: how its files are declared. Each directory is a table of entries; an entry says
// what the file shows and what becomes of what is written to it. The tables are in proc_system.cc,
// proc_sys.cc and proc_process.cc.
#pragma once

#include "kernel/base/text_buffer.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"

#include <span>

// What a node is about, where its entry alone does not say.
struct proc_subject {
    pid_t pid = 0; // 0: nothing of a process
    pid_t tid = 0; // 0: not of one thread in particular
    // In /proc/TID, where `tid` says whose name, state and descriptors are shown, but what is added
    // up is the whole process's, as in /proc/PID.
    bool whole = false;
    int fd = -1;
    // Which process and which thread: the numbers may have been given again since. 0: whoever has
    // them.
    uint64_t process_serial = 0, thread_serial = 0;
    // Of an open file: which program the process ran when it was opened
    // (kernel/process/security.h). What is said of another one's memory, or done to it, is not what
    // leave was given for.
    uint64_t program = 0;

    ref_ptr<process> find_process() const; // null when it is gone
    ref_ptr<thread> find_thread() const;   // the one in particular, else the first; null when gone
    bool gone() const;                     // it was of a process, or of a thread, that has ended
    expected<ref_ptr<file>> find_file() const; // ENOENT
    // Fills in what the numbers stand for now. False when there is no such process or thread.
    bool bind();
};

// A line of meminfo and smaps: "Name:      n kB".
void print_kib(const char* name, uint64_t kib, text_buffer& out);

class uio;
struct proc_entry;

// A directory whose further entries are numbers: processes, threads, descriptors.
struct proc_numbers {
    // The first number >= from, or -1.
    int64_t (*next)(const proc_subject& of, int64_t from);
    // Makes the subject of that entry.
    void (*choose)(proc_subject& of, int64_t number);
    const proc_entry* entry; // what each of them is
    // For numbers that can be looked up although `next` does not name them: makes the subject, or
    // returns false when there is none. Null: there are no such numbers.
    bool (*choose_unlisted)(proc_subject& of, int64_t number) = nullptr;
};

struct proc_entry {
    const char* name;
    uint32_t mode; // type and permissions
    // Files and symbolic links: their text. ENOENT or ESRCH when the subject is gone.
    status (*show)(const proc_subject& of, text_buffer& out) = nullptr;
    // Files: what is written, without a newline at its end.
    status (*store)(const proc_subject& of, std::string_view text) = nullptr;
    // Files without a text: moves what is at `offset`, either way. Of memory.
    expected<int64_t> (*move)(const proc_subject& of, uio& io, uint64_t offset) = nullptr;
    // Links that lead to a vnode whatever their text is.
    expected<ref_ptr<vnode>> (*jump)(const proc_subject& of) = nullptr;
    // Directories.
    std::span<const proc_entry> children = {};
    const proc_numbers* numbers = nullptr;
    // Of what is in the process's memory, or where it lies: for those who may look into it, and of
    // the program that they asked for. (Links with a `jump` and their directory are such, too.)
    bool of_memory = false;
};

extern const proc_entry proc_root_entry;
extern const proc_entry proc_process_entry;  // /proc/PID
extern const proc_entry proc_sys_entries[3]; // of /proc/sys
