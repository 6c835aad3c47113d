#include "tests/host/vm_shrink.h"

#include "arch/host/host_machine.h"
#include "tests/host/vm_program.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <memory>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Coverage is counted in the children too, which leave by _exit().
#if defined(SPORK_COVERAGE)
extern "C" void __gcov_reset();
extern "C" void __gcov_dump();
#endif

namespace {

constexpr unsigned hang_seconds = 60; // of processor time

// What a child tells its parent: memory that both have.
struct report {
    volatile size_t at;
    char why[512];
};

// A child has the memory of its parent as it was, with no vm_world yet.
std::string run_to_the_end(const operation_list& operations, volatile size_t* progress) {
    (void)uvm_zero_page();
    auto before = vm_inventory();
    try {
        run_operations(operations, progress);
    } catch (const model_mismatch& mismatch) {
        return mismatch.what();
    }
    *progress = operations.size();
    for (const auto& [name, number] : vm_inventory())
        if (number != before[name])
            return "left at the end: " + name + ": " + std::to_string(number) + ", was " +
                   std::to_string(before[name]);
    return {};
}

report* own_report; // a child's

[[noreturn]] void report_panic(const char* message) {
    snprintf(own_report->why, sizeof own_report->why, "operation %zu: panic: %s",
             size_t{own_report->at}, message);
#if defined(SPORK_COVERAGE)
    __gcov_dump();
#endif
    _exit(1);
}

[[noreturn]] void be_the_child(const operation_list& operations, report& out, bool quiet) {
    if (quiet) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
    }
    own_report = &out;
    host_on_panic = report_panic;
    // Processor time, which does not depend on what else the machine does.
    itimerval limit{{0, 0}, {hang_seconds, 0}};
    setitimer(ITIMER_PROF, &limit, nullptr);
    for (int signal : {SIGABRT, SIGSEGV, SIGPROF, SIGFPE, SIGBUS, SIGILL})
        std::signal(signal, SIG_DFL); // Catch2 has handlers of its own
#if defined(SPORK_COVERAGE)
    __gcov_reset();
#endif
    std::string why = run_to_the_end(operations, &out.at);
    strncpy(out.why, why.c_str(), sizeof out.why - 1);
#if defined(SPORK_COVERAGE)
    __gcov_dump();
#endif
    _exit(why.empty() ? 0 : 1);
}

class child {
public:
    child(const operation_list& operations, bool quiet)
        : report_(static_cast<report*>(mmap(nullptr, sizeof(report), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
        fflush(nullptr);
        pid_ = fork();
        if (pid_ == 0)
            be_the_child(operations, *report_, quiet);
    }
    ~child() { munmap(report_, sizeof *report_); }
    child(const child&) = delete;

    pid_t pid() const { return pid_; }
    run_verdict verdict(int status) const {
        run_verdict v{.failed = status != 0, .at = report_->at, .why = report_->why};
        if (!v.failed || !v.why.empty())
            return v;
        v.why = "operation " + std::to_string(v.at) + ": the process ended with ";
        if (!WIFSIGNALED(status))
            v.why += "status " + std::to_string(WEXITSTATUS(status)) + " (a sanitizer's report?)";
        else if (WTERMSIG(status) == SIGPROF)
            v.why += "no end in sight";
        else
            v.why += strsignal(WTERMSIG(status));
        return v;
    }

private:
    report* report_;
    pid_t pid_;
};

} // namespace

run_verdict run_apart(const operation_list& operations, bool quiet) {
    child c(operations, quiet);
    int status = 0;
    waitpid(c.pid(), &status, 0);
    return c.verdict(status);
}

std::optional<failed_seed> run_seeds(uint64_t first, uint64_t count, size_t operations,
                                     unsigned jobs) {
    std::map<pid_t, std::pair<uint64_t, std::unique_ptr<child>>> running;
    std::optional<failed_seed> failed;
    uint64_t next = first;
    while (!running.empty() || (!failed && next < first + count)) {
        if (!failed && next < first + count && running.size() < jobs) {
            auto c = std::make_unique<child>(make_operations(next, operations), false);
            pid_t pid = c->pid();
            running.emplace(pid, std::pair(next++, std::move(c)));
            continue;
        }
        int status = 0;
        auto it = running.find(waitpid(-1, &status, 0));
        if (it == running.end())
            continue;
        run_verdict v = it->second.second->verdict(status);
        if (v.failed && !failed)
            failed = {it->second.first, v};
        running.erase(it);
    }
    return failed;
}

// ---- Shrinking -------------------------------------------------------------------------------

namespace {

class shrinker {
public:
    shrinker(operation_list operations, unsigned seconds)
        : best_(std::move(operations)), deadline_(time(nullptr) + seconds) {}

    operation_list run() {
        run_verdict v = run_apart(best_, true);
        if (!v.failed)
            return best_;
        kind_ = kind_of(v);
        cut_tail(v);
        size_t before;
        do {
            before = best_.size();
            drop_pieces();
        } while (best_.size() < before && !late());
        make_small();
        drop_pieces();
        return best_;
    }

private:
    bool late() const { return time(nullptr) > deadline_; }

    // What went wrong, without the numbers, which change while the run gets shorter.
    static std::string kind_of(const run_verdict& v) {
        std::string kind = v.why;
        std::erase_if(kind, [](char c) { return c >= '0' && c <= '9'; });
        return kind;
    }

    // Whether the run fails in the same way; then it is the new best.
    bool try_instead(const operation_list& candidate) {
        run_verdict v = run_apart(candidate, true);
        if (!v.failed || kind_of(v) != kind_)
            return false;
        best_ = candidate;
        cut_tail(v);
        return true;
    }
    void cut_tail(const run_verdict& v) {
        if (v.at + 1 < best_.size())
            best_.resize(v.at + 1);
    }

    void drop_pieces() {
        for (size_t piece = std::max<size_t>(best_.size() / 2, 1); piece > 0; piece /= 2) {
            for (size_t at = 0; at < best_.size() && !late();) {
                operation_list without = best_;
                auto from = without.begin() + std::ptrdiff_t(at);
                without.erase(from, from + std::ptrdiff_t(std::min(piece, without.size() - at)));
                if (!try_instead(without))
                    at += piece;
            }
        }
    }

    template <class Field> void lower(Field model_operation::* field, size_t at) {
        for (uint64_t value :
             {uint64_t{0}, uint64_t{best_[at].*field} & 0xff, uint64_t{best_[at].*field} & 0xffff,
              uint64_t{best_[at].*field} & 0xfffff}) {
            if (value >= best_[at].*field || late())
                continue;
            operation_list candidate = best_;
            candidate[at].*field = Field(value);
            if (try_instead(candidate))
                return;
        }
    }
    void make_small() {
        for (size_t at = 0; at < best_.size(); at++) {
            if (at < best_.size())
                lower(&model_operation::fail_at, at);
            if (at < best_.size())
                lower(&model_operation::process, at);
            if (at < best_.size())
                lower(&model_operation::value, at);
            if (at < best_.size())
                lower(&model_operation::count, at);
            if (at < best_.size() && best_[at].count > 7) { // what counts is its rest
                operation_list candidate = best_;
                candidate[at].count %= 8;
                (void)try_instead(candidate);
            }
        }
    }

    operation_list best_;
    std::string kind_;
    const time_t deadline_;
};

} // namespace

operation_list shrink(operation_list operations, unsigned seconds) {
    return shrinker(std::move(operations), seconds).run();
}

// ---- Saying it -------------------------------------------------------------------------------

std::string as_test(const operation_list& operations, const std::string& title) {
    std::string text =
        "TEST_CASE(\"model: " + title + "\", \"[model]\") {\n" + "    CHECK(failure_of({\n";
    for (const model_operation& op : operations) {
        char line[160];
        snprintf(line, sizeof line, "        {model_op::%s, %u, %u, %u, %#x, %u}, // ",
                 model_op_name(op.kind), op.process, op.page, op.count, op.value, op.fail_at);
        text += line + describe(op) + "\n";
    }
    return text + "    }) == \"\");\n}\n";
}

std::string explain_failure(const operation_list& operations, const std::string& title) {
    constexpr unsigned shrinking_seconds = 120;
    run_verdict first = run_apart(operations, true);
    if (!first.failed)
        return "the run does not fail when it is repeated";
    operation_list shortest = shrink(operations, shrinking_seconds);
    run_verdict last = run_apart(shortest, true);
    return first.why + "\nshrunk from " + std::to_string(operations.size()) + " operations to " +
           std::to_string(shortest.size()) + ": " + last.why + "\n\n" + as_test(shortest, title);
}

operation_list operations_of_bytes(const uint8_t* data, size_t size) {
    constexpr size_t bytes = 9;
    operation_list operations(size / bytes);
    for (model_operation& op : operations) {
        op.kind = model_op(data[0] % size_t(model_op::count));
        op.process = data[1];
        op.page = data[2];
        op.count = data[3];
        memcpy(&op.value, data + 4, sizeof op.value);
        const bool fails = data[8] < 32 || (data[8] & ~3) == model_operation::requests;
        op.fail_at = fails ? data[8] : 0;
        data += bytes;
    }
    return operations;
}
