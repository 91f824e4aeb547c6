// Runs the threads of a Metal kernel as fibres on one processor, in an order that a schedule decides, and watches what
// they do to memory that they share. Accesses are ordered by barriers alone: two threads that touch one element, one
// of them writing, without a barrier of the right kind between them are reported, whatever order they ran in.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "metal.hpp"

// Registers that a call must keep go onto the stack, and the stacks change places.
extern "C" void metal_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl metal_switch
.hidden metal_switch
metal_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
)");
constexpr int SAVED = 6;
#elif defined(__aarch64__)
#ifdef __APPLE__
#define SWITCH "_metal_switch"
#else
#define SWITCH "metal_switch"
#endif
asm(".text\n.globl " SWITCH "\n.p2align 2\n" SWITCH R"(:
  sub sp, sp, #160
  stp x19, x20, [sp, #0];   stp x21, x22, [sp, #16];  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48];  stp x27, x28, [sp, #64];  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96];    stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0];   ldp x21, x22, [sp, #16];  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48];  ldp x27, x28, [sp, #64];  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96];    ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "fibres are switched by hand on x86-64 and arm64 only"
#endif

namespace {
constexpr uint WIDTH = 32, STACK = 64 * 1024, THREADGROUP_MEMORY = 32 * 1024;
std::vector<std::unique_ptr<char[]>> stacks;  // kept from run to run

// Time as barriers count it. An access is before another of the same threadgroup if a barrier with the flag for its
// memory came between: of the threadgroup, or of the simdgroup that both threads belong to.
struct Clock {
    uint group, threadgroup, simdgroup;
};
enum Who : int { NOBODY = -1, SEVERAL = -2 };
struct Trace {
    int thread = NOBODY, simdgroup = NOBODY;
    Clock clock{};
};
struct Shadow {
    Trace write, read;
};

struct Fibre {
    void* sp = nullptr;
    bool done = false;
    const char* where = nullptr;  // what it waits at
    int line = 0;
    uint threadgroup_clock[2], simdgroup_clock[2];  // of device and threadgroup memory
    uint exchanges = 0;
};
struct Meeting {
    uint arrived = 0;
    int kind = 0, line = 0;
    std::vector<int> waiting;
};  // of a simdgroup or a threadgroup
struct Simdgroup {
    Meeting meeting;
    alignas(16) char values[2][WIDTH * 16];
    float product[2][64];
};

struct Machine {
    void (*body)(const Region*) = nullptr;
    const Region* buffers = nullptr;
    uint3 grid{}, size{}, group{};
    uint threads = 0, group_number = 0;
    int schedule = 0, current = 0;
    void* main_sp = nullptr;
    std::vector<Fibre> fibres;
    std::vector<Simdgroup> simdgroups;
    Meeting meeting;
    std::vector<int> ready;
    size_t ready_from = 0;
    std::vector<Region> arrays;
    std::vector<std::vector<char>> contents;
    std::vector<std::vector<Shadow>> shadows;
    std::mt19937 random;
    std::string complaint;
} machine;

Fibre& me() { return machine.fibres[machine.current]; }
uint lanes_of(uint simdgroup) { return std::min(WIDTH, machine.threads - simdgroup * WIDTH); }

std::string here() {
    char text[160];
    snprintf(text, sizeof text, "by thread %d of threadgroup (%u, %u, %u)", machine.current, machine.group.x,
             machine.group.y, machine.group.z);
    return text;
}

[[noreturn]] void complain(const std::string& what) {
    machine.complaint = what + " " + here();
    void* unused;
    metal_switch(&unused, machine.main_sp);  // nobody comes back here
    abort();
}

int next() {
    auto& ready = machine.ready;
    if (machine.schedule == 0) return machine.ready_from < ready.size() ? ready[machine.ready_from++] : -1;
    if (ready.empty()) return -1;
    const size_t at = machine.schedule == 1 ? ready.size() - 1 : machine.random() % ready.size();
    std::swap(ready[at], ready.back());
    const int found = ready.back();
    ready.pop_back();
    return found;
}

void leave() {  // until somebody puts this fibre among the ready again
    const int from = machine.current, to = next();
    if (to == from) return;
    void** save = &machine.fibres[from].sp;
    if (to < 0) return metal_switch(save, machine.main_sp);
    machine.current = to;
    metal_switch(save, machine.fibres[to].sp);
}

// Everybody of a simdgroup or threadgroup arrives before anybody goes on; true for the last, who may do the work.
template <class Work>
void meet(Meeting& meeting, uint everybody, int kind, int line, const char* where, Work work) {
    if (meeting.arrived == 0) {
        meeting.kind = kind;
        meeting.line = line;
    } else if (meeting.kind != kind || meeting.line != line) {
        complain(std::string(where) + " in line " + std::to_string(line) + " is reached while others are at line " +
                 std::to_string(meeting.line));
    }
    me().where = where;
    me().line = line;
    if (++meeting.arrived < everybody) {
        meeting.waiting.push_back(machine.current);
        leave();
    } else {
        work();
        meeting.arrived = 0;
        machine.ready.insert(machine.ready.end(), meeting.waiting.begin(), meeting.waiting.end());
        meeting.waiting.clear();
        if (machine.schedule != 0) {  // the last to arrive need not be the first to go on
            machine.ready.push_back(machine.current);
            leave();
        }
    }
}

bool ordered(const Trace& before, int thread, const Clock& now) {
    if (before.thread == NOBODY || before.thread == thread)
        return before.thread == NOBODY || before.clock.group == now.group;
    if (before.clock.group != now.group) return false;
    if (before.clock.threadgroup < now.threadgroup) return true;
    return before.simdgroup == thread / int(WIDTH) && before.clock.simdgroup < now.simdgroup;
}

Shadow& shadow_of(const Region* region, int64_t element, Clock& now) {
    Shadow& shadow = static_cast<Shadow*>(region->shadow)[element];
    const bool local = region >= machine.arrays.data() && region < machine.arrays.data() + machine.arrays.size();
    now = {machine.group_number, me().threadgroup_clock[local], me().simdgroup_clock[local]};
    if (local && shadow.write.clock.group != now.group) shadow.write = {};  // a threadgroup starts with nothing
    if (local && shadow.read.clock.group != now.group) shadow.read = {};
    return shadow;
}

void race(const Region* region, int64_t element, const char* what, const Trace& before) {
    const std::string who = before.thread == SEVERAL ? "several threads" : "thread " + std::to_string(before.thread);
    complain("race: " + std::string(region->name) + "[" + std::to_string(element) + "] is " + what + " " + who +
             " of threadgroup number " + std::to_string(before.clock.group) + " with no barrier between,");
}

void start() {
    machine.body(machine.buffers);
    me().done = true;
    leave();
    abort();
}

void prepare(uint number) {
    Fibre& fibre = machine.fibres[number];
    while (stacks.size() <= number) stacks.emplace_back(new char[STACK]);
    fibre.done = false;
    fibre.exchanges = 0;
    for (int i = 0; i < 2; i++) fibre.threadgroup_clock[i] = fibre.simdgroup_clock[i] = 0;
    auto top = reinterpret_cast<uintptr_t>(stacks[number].get() + STACK) & ~uintptr_t(63);
    void** sp = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
    *--sp = nullptr;  // start() finds the stack as a call would leave it
    *--sp = reinterpret_cast<void*>(start);
    for (int i = 0; i < SAVED; i++) *--sp = nullptr;
#else
    sp -= 20;
    memset(sp, 0, 160);
    sp[11] = reinterpret_cast<void*>(start);
#endif
    fibre.sp = sp;
}

bool run_threadgroup() {
    machine.simdgroups.resize((machine.threads + WIDTH - 1) / WIDTH);
    for (auto& simdgroup : machine.simdgroups) simdgroup.meeting = {};
    machine.meeting = {};
    machine.ready.clear();
    machine.ready_from = 0;
    for (uint i = 0; i < machine.threads; i++) {
        prepare(i);
        machine.ready.push_back(int(i));
    }
    for (auto& content : machine.contents) memset(content.data(), 0xff, content.size());
    machine.current = next();
    metal_switch(&machine.main_sp, me().sp);
    if (!machine.complaint.empty()) return false;
    for (uint i = 0; i < machine.threads; i++) {
        if (machine.fibres[i].done) continue;
        machine.current = int(i);
        machine.complaint = std::string(me().where) + " in line " + std::to_string(me().line) +
                            " is not reached by everybody; it is waited at " + here();
        return false;
    }
    return true;
}
}  // namespace

extern "C" {
void metal_outside(const Region* region, int64_t element) {
    complain("outside: " + std::string(region->name) + "[" + std::to_string(element) + "] of " +
             std::to_string(region->count) + " elements is accessed");
}

void metal_read(const Region* region, int64_t element) {
    Clock now;
    Shadow& shadow = shadow_of(region, element, now);
    if (shadow.write.thread == NOBODY)
        complain("unwritten: " + std::string(region->name) + "[" + std::to_string(element) +
                 "] is read before it is written");
    if (!ordered(shadow.write, machine.current, now)) race(region, element, "read, and was written by", shadow.write);
    const int simdgroup = machine.current / int(WIDTH);
    Trace& read = shadow.read;
    if (read.clock.group != now.group || read.clock.threadgroup != now.threadgroup || read.thread == NOBODY) {
        read = {machine.current, simdgroup, now};
    } else {
        if (read.thread != machine.current) read.thread = SEVERAL;
        if (read.simdgroup != simdgroup) read.simdgroup = SEVERAL;
        read.clock.simdgroup = std::max(read.clock.simdgroup, now.simdgroup);
    }
}

void metal_write(const Region* region, int64_t element) {
    Clock now;
    Shadow& shadow = shadow_of(region, element, now);
    if (!ordered(shadow.write, machine.current, now))
        race(region, element, "written, and was written by", shadow.write);
    if (!ordered(shadow.read, machine.current, now)) race(region, element, "written, and was read by", shadow.read);
    shadow.write = {machine.current, machine.current / int(WIDTH), now};
}

Region* metal_threadgroup_array(int slot, const char* name, int64_t count, int size) {
    Region& region = machine.arrays[slot];
    if (region.base != nullptr) return &region;
    machine.contents[slot].assign(count * size, char(0xff));
    machine.shadows[slot].assign(count, {});
    region = {machine.contents[slot].data(), count, size, true, name, machine.shadows[slot].data()};
    size_t all = 0;
    for (auto& content : machine.contents) all += content.size();
    if (all > THREADGROUP_MEMORY)
        complain("threadgroup memory: " + std::to_string(all) + " bytes are asked for, a chip has 32768;");
    return &region;
}

void metal_barrier(int line, bool whole, uint flags) {
    const auto advance = [&](uint first, uint last) {
        for (uint i = first; i < last; i++)
            for (uint memory = 0; memory < 2; memory++)
                if (flags & (1u << memory)) {
                    if (whole)
                        machine.fibres[i].threadgroup_clock[memory]++;
                    else
                        machine.fibres[i].simdgroup_clock[memory]++;
                }
    };
    if (whole)
        return meet(machine.meeting, machine.threads, 0, line, "threadgroup_barrier",
                    [&] { advance(0, machine.threads); });
    const uint number = machine.current / WIDTH, first = number * WIDTH;
    meet(machine.simdgroups[number].meeting, lanes_of(number), 0, line, "simdgroup_barrier",
         [&] { advance(first, first + lanes_of(number)); });
}

const void* metal_exchange(int kind, int line, const void* mine, int size) {
    Simdgroup& simdgroup = machine.simdgroups[machine.current / WIDTH];
    char* values = simdgroup.values[me().exchanges++ & 1];  // nobody is two ahead of another, so two are enough
    memcpy(values + 16 * metal_lane(), mine, size);
    meet(simdgroup.meeting, lanes_of(machine.current / WIDTH), kind, line, "a simd function", [] {});
    return values;
}

void metal_product(int line, const float* a, const float* b, float* mine) {
    Simdgroup& simdgroup = machine.simdgroups[machine.current / WIDTH];
    const uint turn = me().exchanges++ & 1, lane = metal_lane();
    char* values = simdgroup.values[turn];
    float* product = simdgroup.product[turn];
    memcpy(values + 16 * lane, a, 8);
    memcpy(values + 16 * lane + 8, b, 8);
    const auto place = [](uint of) { return (((of / 4) & 4) + (of / 2) % 4) * 8 + ((of / 4) & 2) * 2 + (of % 2) * 2; };
    const auto multiply = [&] {
        float left[64], right[64];
        for (uint i = 0; i < WIDTH; i++) {
            memcpy(left + place(i), values + 16 * i, 8);
            memcpy(right + place(i), values + 16 * i + 8, 8);
        }
        for (int row = 0; row < 8; row++)
            for (int column = 0; column < 8; column++) {
                float sum = 0;
                for (int k = 0; k < 8; k++) sum += left[row * 8 + k] * right[k * 8 + column];
                product[row * 8 + column] = sum;
            }
    };
    if (lanes_of(machine.current / WIDTH) != WIDTH) complain("a product is asked of a simdgroup that is not full");
    meet(simdgroup.meeting, WIDTH, 100, line, "a simdgroup product", multiply);
    memcpy(mine, product + place(lane), 8);
}

uint metal_lane() { return uint(machine.current) % WIDTH; }
uint metal_lanes() { return lanes_of(uint(machine.current) / WIDTH); }

uint3 metal_position(int which) {
    const uint3 size = machine.size, group = machine.group;
    const uint i = uint(machine.current);
    const uint3 local{i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    switch (which) {
        case 0:
            return local;
        case 1:
            return group;
        case 2:
            return {group.x * size.x + local.x, group.y * size.y + local.y, group.z * size.z + local.z};
        case 3:
            return size;
        case 4:
            return {machine.grid.x / size.x, machine.grid.y / size.y, machine.grid.z / size.z};
        case 5:
            return machine.grid;
        case 6:
            return {i, 0, 0};
        case 7:
            return {i % WIDTH, 0, 0};
        case 8:
            return {i / WIDTH, 0, 0};
        default:
            return {(machine.threads + WIDTH - 1) / WIDTH, 0, 0};
    }
}

// 0, or 1 with what went wrong in `complaint`.
int metal_run(void (*body)(const Region*), Region* buffers, int n_buffers, const uint* grid, const uint* size,
              int n_arrays, int schedule, char* complaint, int room) {
    machine = {};
    machine.body = body;
    machine.buffers = buffers;
    machine.grid = {grid[0], grid[1], grid[2]};
    machine.size = {size[0], size[1], size[2]};
    machine.threads = size[0] * size[1] * size[2];
    machine.schedule = schedule;
    machine.random.seed(unsigned(schedule));
    machine.fibres.resize(machine.threads);
    machine.arrays.resize(n_arrays);
    machine.contents.resize(n_arrays);
    machine.shadows.resize(n_arrays);
    std::vector<std::vector<Shadow>> shadows(n_buffers);
    for (int i = 0; i < n_buffers; i++)
        if (buffers[i].written) {
            shadows[i].resize(buffers[i].count);
            buffers[i].shadow = shadows[i].data();
        }
    const uint3 groups = {grid[0] / size[0], grid[1] / size[1], grid[2] / size[2]};
    std::vector<uint> order(groups.x * groups.y * groups.z);
    for (uint i = 0; i < order.size(); i++) order[i] = schedule == 1 ? uint(order.size()) - 1 - i : i;
    if (schedule > 1) std::shuffle(order.begin(), order.end(), machine.random);
    for (uint number : order) {
        machine.group = {number % groups.x, number / groups.x % groups.y, number / (groups.x * groups.y)};
        machine.group_number = number + 1;
        if (!run_threadgroup()) break;
    }
    for (int i = 0; i < n_buffers && machine.complaint.empty(); i++)
        for (size_t at = 0; at < shadows[i].size(); at++)
            if (shadows[i][at].write.thread == NOBODY) {
                machine.complaint =
                    "unwritten: " + std::string(buffers[i].name) + "[" + std::to_string(at) + "] is never written";
                break;
            }
    snprintf(complaint, size_t(room), "%s", machine.complaint.c_str());
    return machine.complaint.empty() ? 0 : 1;
}
}
