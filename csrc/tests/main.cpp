// Runs the C++ tests.
#include <algorithm>
#include <string>

#include "tests/check.hpp"

/// Runs every test but those that are named: an emulator cannot fork a process with threads, for one.
int main(int count, char** names) {
    size_t ran = 0;
    for (const TestCase& test : test_cases()) {
        if (std::find(names + 1, names + count, std::string(test.name)) != names + count) continue;
        std::printf("%s\n", test.name);
        std::fflush(stdout);
        test.run();
        ++ran;
    }
    std::printf("%zu tests passed\n", ran);
}
