// The host tests' main(): makes the simulated machine, then runs what Catch2's command line asks
// for. With `--alone FOLDER` before that, each test runs in a process of its own, forked off where
// it begins, so that one that panics ends alone; as many at a time as there are processors. FOLDER has
// of test N what it printed, N.txt, and its JUnit report, N.xml, and in the file `tests` all names, a
// line each, in `ended` a line for each that has run: its number, and the status as wait(2) gives it.
#define CATCH_CONFIG_RUNNER
#include "tests/host/catch.h"

#include "arch/host/host_machine.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

constexpr unsigned limit_of_one = 300; // seconds

// As Catch2's command line has exactly this name.
std::string quoted(const std::string& name) {
    std::string q = "\"";
    for (char c : name) {
        if (c == '"' || c == '\\' || c == ',')
            q += '\\';
        q += c;
    }
    return q + "\"";
}

// In the child.
int run_one(Catch::Session& session, const char* program, const std::string& name,
            const std::string& place) {
    const int text = open((place + ".txt").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (text < 0 || dup2(text, 1) < 0 || dup2(text, 2) < 0)
        return 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(limit_of_one);
    const std::string spec = quoted(name), report = place + ".xml";
    const char* words[] = {program, "-r", "junit", "-d", "yes", "-o", report.c_str(), spec.c_str()};
    session.configData().testsOrTags.clear();
    const int wrong = session.applyCommandLine(std::size(words), words);
    return wrong ? wrong : session.run();
}

int run_each_alone(Catch::Session& session, const char* program, const std::string& folder) {
    if (session.configData().testsOrTags.empty()) {
        const char* words[] = {program, "~[.]"}; // all but the hidden ones
        if (int wrong = session.applyCommandLine(std::size(words), words))
            return wrong;
    }
    const auto& config = session.config();
    std::vector<std::string> names;
    for (const auto& test :
         Catch::filterTests(Catch::getAllTestCasesSorted(config), config.testSpec(), config))
        names.push_back(test.getTestCaseInfo().name);

    FILE* all = std::fopen((folder + "/tests").c_str(), "w");
    FILE* ended = std::fopen((folder + "/ended").c_str(), "w");
    if (!all || !ended) {
        std::perror(folder.c_str());
        return 1;
    }
    for (const std::string& name : names)
        std::fprintf(all, "%s\n", name.c_str());
    std::fclose(all);
    std::map<pid_t, size_t> running;
    int failed = 0;
    for (size_t next = 0; next < names.size() || !running.empty();) {
        if (next < names.size() &&
            running.size() < std::max(1u, std::thread::hardware_concurrency())) {
            const pid_t child = fork();
            if (child == 0)
                std::exit(
                    run_one(session, program, names[next], folder + "/" + std::to_string(next)));
            if (child < 0) {
                std::perror("fork");
                return 1;
            }
            running[child] = next++;
            continue;
        }
        int status = 0;
        const auto done = running.extract(wait(&status));
        if (done.empty()) {
            std::perror("wait");
            return 1;
        }
        failed += status != 0;
        std::fprintf(ended, "%zu %d\n", done.mapped(), status);
        std::fflush(ended); // also lest the next child writes it again
    }
    std::fclose(ended);
    return failed != 0;
}

} // namespace

int main(int argc, char** argv) {
    host_machine_init(32768); // 128 MiB: small enough for a test to use up
    Catch::Session session;
    if (argc < 3 || std::strcmp(argv[1], "--alone") != 0)
        return session.run(argc, argv);
    std::vector<const char*> words{argv[0]};
    words.insert(words.end(), argv + 3, argv + argc);
    if (int wrong = session.applyCommandLine(int(words.size()), words.data()))
        return wrong;
    return run_each_alone(session, argv[0], argv[2]);
}
