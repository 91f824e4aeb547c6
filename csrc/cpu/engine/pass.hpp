// Some tokens' way through all layers. Everything that allocates or throws happens before the team of threads starts;
// then each member does its share of every part, and they wait for each other between parts.
#pragma once
#include <initializer_list>
#include <utility>
#include <vector>

#include "cpu/engine/engine.hpp"
#include "threads.hpp"

namespace pylm::cpu {

/// A token to be read: its id, the sequence that it is appended to, and where it stands there.
struct Token {
    int64_t id;
    Cache* cache;
    int64_t position;
};

class Pass {
  public:
    Pass(Engine& engine, const std::vector<Token>& tokens, const std::vector<int64_t>& wanted, float* logits);
    void run();

  private:
    using Part = std::pair<int64_t, int64_t>;
    struct Piece {
        int64_t token, head, begin, end;
    };

    void member(Team& team, int me);
    void attend(Team& team, int me, const Engine::Layer& layer, int64_t index);
    void place_heads(const Engine::Layer& layer, int64_t index, int64_t token, int64_t head);
    void rope(float* x, float* out, const std::vector<float>& weight, int64_t heads, int64_t token);
    void attend_prefill(int64_t head, int me);
    void attend_piece(int64_t piece, int64_t index);
    void join(int64_t token);
    void normalise(const Engine::Norm& norm, const float* x, float* y, Part part);
    /// Writes the forms of x that products of these matrices with `many` tokens read.
    void prepare(const float* x, std::initializer_list<const Weights*> matrices, Part part, int64_t many);
    void product(const Weights& w, const std::vector<float>& bias, const float* x, float* y, int64_t stride, bool add,
                 Part rows, int me, int64_t tokens);
    /// A member's part of so many things, in `whole` ones.
    static Part share(const Team& team, int me, int64_t count, int64_t whole = 1);

    Engine& engine;
    const Shape& shape;
    const Kernels& table;
    const std::vector<Token>& tokens;
    const std::vector<int64_t>& wanted;
    float* logits;
    const int64_t count, dim, group, packed_width;
    int threads;  // at most: inside another parallel region the team is one
    bool prefill;
    std::vector<Piece> pieces;
    std::vector<int64_t> first_piece;  // of each (token, head)
};

}  // namespace pylm::cpu
