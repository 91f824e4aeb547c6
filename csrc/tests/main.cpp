#include "tests/check.hpp"

int main() {
    for (const TestCase& test : test_cases()) {
        std::printf("%s\n", test.name);
        std::fflush(stdout);
        test.run();
    }
    std::printf("%zu tests passed\n", test_cases().size());
}
