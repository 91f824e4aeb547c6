// Draws a token: logits become integer weights, filters cut them by a histogram, one draw falls among what is left.
#include "sampler/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "error.hpp"
#include "sampler/philox.hpp"

namespace pylm::sampler {
namespace {

constexpr float LOG2_E = 1.44269504088896341f;
constexpr float WEIGHT_ONE = 0x1p30f;
// 32 buckets a nat; past 21 nats below the maximum a weight of 30 bits is zero
constexpr int BUCKETS = 32 * 21 + 1;

// e^d for d <= 0, by 2^integer times a polynomial of the rest. This file is compiled with -ffp-contract=off: each
// operation rounds once, in every vector width, so the bits are the same on every machine.
inline float exp_below_zero(float d) {
    d = std::max(d, -87.0f);
    const float shifted = d * LOG2_E + 12582912.0f;  // 1.5 * 2^23: the low bits now hold the nearest integer
    const float n = shifted - 12582912.0f;
    const float r = (d - n * 0.693145751953125f) - n * 1.428606765330187e-06f;  // ln 2 in two parts, the first exact
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    const uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
}

[[gnu::noinline]] void exponents(const float* __restrict x, int64_t n, float top, uint32_t* __restrict w) {
    for (int64_t i = 0; i < n; ++i)
        w[i] = static_cast<uint32_t>(static_cast<int32_t>(exp_below_zero(x[i] - top) * WEIGHT_ONE));
}

inline int bucket_of(float below) { return static_cast<int>(std::min(below * 32.0f, BUCKETS - 1.0f)); }

// What one row needs; kept by each thread, so that a draw allocates nothing once it is warm.
struct Scratch {
    std::vector<float> x;
    std::vector<uint32_t> w;
    std::vector<int64_t> ids, seen;
    std::vector<int64_t> kept;  // ids that top-k and top-p keep, in order; of use where `cut`, else w tells all
    bool cut;
    std::vector<std::pair<float, int64_t>> tied;
    uint64_t mass[BUCKETS];
    int64_t count[BUCKETS];
};

Scratch& thread_scratch() {
    thread_local Scratch mine;
    return mine;
}

[[noreturn]] void refuse(const Row& row, const std::string& what, const std::string& hint) {
    throw Error(Kind::data, "row " + std::to_string(row.number) + ": " + what, hint);
}

void load(const Row& row, float* x) {
    const int64_t n = row.vocab_size;
    // SAFETY: the binding has checked that the row holds at least vocab_size items of this type
    if (row.dtype == Dtype::float32) {
        std::memcpy(x, row.logits, static_cast<size_t>(n) * sizeof(float));
        return;
    }
    const auto* half = static_cast<const uint16_t*>(row.logits);
    if (row.dtype == Dtype::bfloat16)
        for (int64_t i = 0; i < n; ++i) x[i] = from_bfloat16(half[i]);
    else
        for (int64_t i = 0; i < n; ++i) x[i] = from_float16(half[i]);
}

// The largest logit; refuses NaN, +inf, and rows in which nothing is possible.
float highest(const Row& row, const float* x) {
    constexpr int LANES = 16;
    const int64_t n = row.vocab_size;
    float lanes[LANES];
    uint32_t bad[LANES] = {};
    std::fill(lanes, lanes + LANES, -INFINITY);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; ++l) {
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
            bad[l] |= !(x[i + l] < INFINITY);
        }
    for (; i < n; ++i) {
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
        bad[0] |= !(x[i] < INFINITY);
    }
    if (std::any_of(bad, bad + LANES, [](uint32_t b) { return b != 0; }))
        for (int64_t id = 0; id < n; ++id)
            if (!(x[id] < INFINITY))
                refuse(row, "the logit of id " + std::to_string(id) + " is " + (std::isnan(x[id]) ? "NaN" : "+inf"),
                       "the model's weights or its input are not finite");
    const float top = *std::max_element(lanes, lanes + LANES);
    if (top == -INFINITY) refuse(row, "every logit is -inf", "no token is left to draw: loosen the mask or the bias");
    return top;
}

void penalize(const Row& row, const Settings& s, Scratch& scratch) {
    float* x = scratch.x.data();
    const bool counts = s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0;
    if (counts && row.history_length > 0) {
        scratch.seen.assign(row.history, row.history + row.history_length);
        std::sort(scratch.seen.begin(), scratch.seen.end());
        for (size_t i = 0, next; i < scratch.seen.size(); i = next) {
            const int64_t id = scratch.seen[i];
            for (next = i + 1; next < scratch.seen.size() && scratch.seen[next] == id;) ++next;
            if (id < 0 || id >= row.vocab_size)
                throw Error(Kind::usage, "row " + std::to_string(row.number) + ": the history holds id " +
                                             std::to_string(id) + ", the vocabulary ends at " +
                                             std::to_string(row.vocab_size));
            float& value = x[id];
            value = value > 0 ? value / s.repetition_penalty : value * s.repetition_penalty;
            value -= s.presence_penalty + s.frequency_penalty * static_cast<float>(next - i);
        }
    }
    for (const auto& [id, bias] : s.bias) x[id] += bias;
}

// Where the kept tokens end, in the order of falling logits, lower ids first among equals.
struct Cut {
    float x = -INFINITY;
    int64_t id = -1;
    int bucket = BUCKETS;  // of x; BUCKETS: nothing is cut
    bool keeps(float other, int64_t other_id) const { return other > x || (other == x && other_id <= id); }
};

// Calls body(i) for every i whose x is at least `least`. Few are: whole blocks are passed over by vectors.
template <class Body>
void each_from(const float* x, int64_t n, float least, const Body& body) {
    constexpr int64_t BLOCK = 32;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t end = std::min(n, at + BLOCK);
        uint32_t any = 0;
        for (int64_t i = at; i < end; ++i) any |= x[i] >= least;
        if (!any) continue;
        for (int64_t i = at; i < end; ++i)
            if (x[i] >= least) body(i);
    }
}

// The tokens of one bucket that lie before a cut, in order.
void collect(Scratch& scratch, int64_t n, float top, int bucket, const Cut& before) {
    scratch.tied.clear();
    const float* x = scratch.x.data();
    // a bucket's logits lie above this whatever was rounded; the last bucket has no end
    const float least = bucket == BUCKETS - 1 ? -INFINITY : top - static_cast<float>(bucket + 2) / 32.0f;
    each_from(x, n, least, [&](int64_t i) {
        if (bucket_of(top - x[i]) == bucket && (before.bucket == BUCKETS || before.keeps(x[i], i)))
            scratch.tied.emplace_back(-x[i], i);
    });
    std::sort(scratch.tied.begin(), scratch.tied.end());
}

// Not inlined: where the compiler knows that the scratch is the thread's own it asks for its address at every token.
// Both filters by a histogram over falling logits, sorting only the bucket in which each cut falls.
[[gnu::noinline]] Cut find_cut(Scratch& scratch, int64_t n, float top, int64_t top_k, float top_p) {
    std::fill(scratch.mass, scratch.mass + BUCKETS, 0);
    std::fill(scratch.count, scratch.count + BUCKETS, 0);
    for (int64_t i = 0; i < n; ++i) {
        const int b = bucket_of(top - scratch.x[i]);
        scratch.mass[b] += scratch.w[i];
        ++scratch.count[b];
    }
    Cut cut;
    if (top_k > 0 && top_k < n) {
        int64_t before = 0;
        int b = 0;
        while (before + scratch.count[b] < top_k) before += scratch.count[b++];
        collect(scratch, n, top, b, cut);
        const int64_t kept = top_k - before;
        cut = {-scratch.tied[kept - 1].first, scratch.tied[kept - 1].second, b};
        scratch.mass[b] = 0;
        for (int64_t i = 0; i < kept; ++i) scratch.mass[b] += scratch.w[scratch.tied[i].second];
        std::fill(scratch.mass + b + 1, scratch.mass + BUCKETS, 0);
    }
    if (top_p < 1) {
        uint64_t total = 0;
        for (uint64_t mass : scratch.mass) total += mass;
        const auto wanted = static_cast<uint64_t>(std::ceil(static_cast<double>(top_p) * static_cast<double>(total)));
        uint64_t before = 0;
        int b = 0;
        while (before + scratch.mass[b] < wanted) before += scratch.mass[b++];
        collect(scratch, n, top, b, cut);
        for (const auto& [minus_x, id] : scratch.tied) {
            before += scratch.w[id];
            if (before >= wanted) return {-minus_x, id, b};
        }
    }
    return cut;
}

// Fills scratch.x and scratch.w, and scratch.kept where top-k or top-p cut. Returns the sum of the weights that are
// kept.
[[gnu::noinline]] uint64_t weigh(const Row& row, const Settings& s, Scratch& scratch) {
    const int64_t n = row.vocab_size;
    scratch.x.resize(n), scratch.w.resize(n);
    load(row, scratch.x.data());
    penalize(row, s, scratch);
    float* x = scratch.x.data();
    uint32_t* w = scratch.w.data();
    const float inverse = 1.0f / s.temperature;
    if (inverse != 1.0f)
        for (int64_t i = 0; i < n; ++i) x[i] *= inverse;
    const float top = highest(row, x);
    exponents(x, n, top, w);
    Cut cut;
    if ((s.top_k > 0 && s.top_k < n) || s.top_p < 1) cut = find_cut(scratch, n, top, s.top_k, s.top_p);
    const auto least = static_cast<uint32_t>(std::ceil(static_cast<double>(s.min_p) * WEIGHT_ONE));
    uint64_t total = 0;
    scratch.cut = cut.bucket != BUCKETS;
    if (!scratch.cut) {
        for (int64_t i = 0; i < n; ++i) total += w[i] = w[i] >= least ? w[i] : 0;
        return total;
    }
    scratch.kept.clear();
    each_from(x, n, cut.x, [&](int64_t i) {
        if (w[i] < least || !cut.keeps(x[i], i)) return;
        scratch.kept.push_back(i);
        total += w[i];
    });
    return total;
}

int64_t most_likely(const Row& row, const Settings& s, Scratch& scratch) {
    scratch.x.resize(row.vocab_size);
    load(row, scratch.x.data());
    penalize(row, s, scratch);
    const float top = highest(row, scratch.x.data());
    return std::find(scratch.x.begin(), scratch.x.begin() + row.vocab_size, top) - scratch.x.begin();
}

void add_logprobs(const Row& row, Scratch& scratch, int64_t alternatives, Choice& choice) {
    const int64_t n = row.vocab_size;
    load(row, scratch.x.data());
    const float* x = scratch.x.data();
    const float top = highest(row, x);
    constexpr int LANES = 8;
    double sums[LANES] = {};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; ++l) sums[l] += exp_below_zero(x[i + l] - top);
    for (; i < n; ++i) sums[0] += exp_below_zero(x[i] - top);
    double sum = 0;
    for (double part : sums) sum += part;
    const double log_sum = std::log(sum) + top;
    choice.logprob = static_cast<float>(x[choice.id] - log_sum);
    if (alternatives < 1) return;
    scratch.ids.resize(n);
    for (int64_t id = 0; id < n; ++id) scratch.ids[id] = id;
    const auto likelier = [x](int64_t a, int64_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; };
    const int64_t wanted = std::min(alternatives, n);
    std::partial_sort(scratch.ids.begin(), scratch.ids.begin() + wanted, scratch.ids.begin() + n, likelier);
    for (int64_t a = 0; a < wanted; ++a)
        choice.top.emplace_back(scratch.ids[a], static_cast<float>(x[scratch.ids[a]] - log_sum));
}

}  // namespace

void Settings::check(int64_t vocab_size) const {
    const auto refuse_setting = [](const std::string& what, const std::string& hint) {
        throw Error(Kind::usage, what, hint);
    };
    if (!(temperature >= 0) || !std::isfinite(temperature))
        refuse_setting("temperature is " + std::to_string(temperature), "it is 0 (the most likely token) or above");
    if (temperature > 0 && temperature < 1e-6f)
        refuse_setting("temperature is below 1e-6", "0 takes the most likely token");
    if (top_k < 0 || top_k > vocab_size)
        refuse_setting("top_k is " + std::to_string(top_k) + ", the vocabulary has " + std::to_string(vocab_size),
                       "choose 1 to the vocabulary's size, 0 for off");
    if (!(top_p > 0 && top_p <= 1)) refuse_setting("top_p is " + std::to_string(top_p), "it is above 0 and at most 1");
    if (!(min_p >= 0 && min_p <= 1)) refuse_setting("min_p is " + std::to_string(min_p), "it is 0 to 1");
    if (!(repetition_penalty > 0) || !std::isfinite(repetition_penalty))
        refuse_setting("repetition_penalty is " + std::to_string(repetition_penalty), "it is above 0; 1 is off");
    if (!std::isfinite(presence_penalty) || !std::isfinite(frequency_penalty))
        refuse_setting("a penalty is not a finite number", "0 is off");
    for (const auto& [id, value] : bias) {
        if (id < 0 || id >= vocab_size)
            refuse_setting(
                "logit_bias names id " + std::to_string(id) + ", the vocabulary ends at " + std::to_string(vocab_size),
                "use ids of the tokenizer");
        if (std::isnan(value) || value == INFINITY)
            refuse_setting("the bias of id " + std::to_string(id) + " is " + std::to_string(value),
                           "-inf forbids a token; nothing demands one");
    }
}

std::vector<uint32_t> weights(const Row& row, const Settings& settings) {
    Scratch& scratch = thread_scratch();
    if (settings.temperature == 0) {
        std::vector<uint32_t> one(row.vocab_size);
        one[most_likely(row, settings, scratch)] = 1u << 30;
        return one;
    }
    weigh(row, settings, scratch);
    if (!scratch.cut) return {scratch.w.begin(), scratch.w.begin() + row.vocab_size};
    std::vector<uint32_t> found(row.vocab_size);
    for (int64_t id : scratch.kept) found[id] = scratch.w[id];
    return found;
}

Choice sample(const Row& row, const Settings& settings, uint64_t seed, uint64_t sequence, uint64_t position,
              bool logprobs, int64_t alternatives) {
    Scratch& scratch = thread_scratch();
    Choice choice;
    if (settings.temperature == 0) {
        choice.id = most_likely(row, settings, scratch);
    } else {
        const uint64_t total = weigh(row, settings, scratch);
        // the high half of a 128-bit product: uniform below `total` to within 2^-16 of a unit
        uint64_t left =
            static_cast<uint64_t>((static_cast<unsigned __int128>(philox(seed, sequence, position)) * total) >> 64);
        const uint32_t* w = scratch.w.data();
        if (scratch.cut) {
            const int64_t* id = scratch.kept.data();
            while (left >= w[*id]) left -= w[*id++];
            choice.id = *id;
        } else {
            while (left >= w[choice.id]) left -= w[choice.id++];
        }
    }
    if (logprobs || alternatives > 0) add_logprobs(row, scratch, alternatives, choice);
    return choice;
}

}  // namespace pylm::sampler
