// The C++ tests, run under sanitizers by `make sanitize`: TEST(name) { CHECK(...); }
#pragma once
#include <cstdio>
#include <cstdlib>
#include <vector>

struct TestCase {
    const char* name;
    void (*run)();
};
inline std::vector<TestCase>& test_cases() {
    static std::vector<TestCase> list;
    return list;
}
struct Registered {
    Registered(const char* name, void (*run)()) { test_cases().push_back({name, run}); }
};

#define TEST(name)                                          \
    static void name();                                     \
    static const Registered registered_##name(#name, name); \
    static void name()
#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            std::fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                      \
        }                                                                                      \
    } while (0)
