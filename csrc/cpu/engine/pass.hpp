// Some tokens' way through all layers. Everything that allocates or throws happens before the team of threads starts;
// then each member does its share of every part, and they wait for each other between parts. A layer, where | is such a
// wait; [tokens] are shared token by token, [rows] by rows of the weights:
//
//   normalise, prepare [tokens] | product qkv [rows] | place heads [heads] | attend [pieces] | join, prepare [tokens] |
//   product out, added to the stream [rows] |
//   normalise, prepare [tokens] | products up and gate, activation [rows] | prepare [tokens] |
//   product down, added to the stream [rows] |
#pragma once
#include <initializer_list>
#include <vector>

#include "cpu/engine/cache.hpp"
#include "cpu/engine/decoder.hpp"
#include "cpu/table.hpp"
#include "threads.hpp"

namespace pylm::cpu {

/// Parents of a token that follows no other of its pass: it is appended to its cache, or it begins a branch there.
constexpr int64_t APPENDED = -2, BRANCH = -1;
/// A token to be read: its id, the sequence that it follows, and where it stands there. One with a parent, an earlier
/// token of the pass, or BRANCH sees its ancestors and what the cache holds (null: nothing), and leaves no trace there.
struct Token {
    int64_t id;
    Cache* cache;
    int64_t position;
    int64_t parent = APPENDED;
};

/// Of so many things, those from `begin` to `end`.
struct Part {
    int64_t begin, end;
};

/// One of the threads that go through the layers together.
struct Member {
    Team& team;
    int me;
    void wait() const { team.wait(); }
    /// This member's part of `all`, cut between groups of `whole`.
    Part share(int64_t all, int64_t whole = 1) const;
};

class Pass {
  public:
    Pass(Decoder& decoder, const std::vector<Token>& tokens, const std::vector<int64_t>& wanted, float* logits);
    void run();

  private:
    /// Keys [begin, end) of one head of keys, for one token: of its cache, or of the tokens of this pass.
    struct Piece {
        int64_t token, head, begin, end;
        bool of_pass;
    };

    void grow_workspace();
    void cut_pieces();
    void cut(int64_t token, int64_t head, int64_t begin, int64_t end, bool of_pass);
    void cut_ancestors(int64_t token, int64_t head);
    void grow_scratch();

    void all_layers(const Member& member);
    void embed(const Member& member);
    void attention_block(const Member& member, const Layer& layer, int64_t index);
    void mlp_block(const Member& member, const Layer& layer);
    void write_logits(const Member& member);

    void attend(const Member& member, const Layer& layer, int64_t index);
    void place_heads(const Layer& layer, int64_t index, int64_t token, int64_t head);
    void rope(float* x, float* out, const std::vector<float>& weight, int64_t heads, int64_t token);
    void attend_prefill(int64_t head, int me);
    void attend_piece(int64_t piece, int64_t index);
    void join(int64_t token);
    void normalise(const Norm& norm, const float* x, float* y, Part part);
    /// Writes the forms of x that products of these matrices with `many` tokens read.
    void prepare(const float* x, std::initializer_list<const Weights*> matrices, Part part, int64_t many);
    void product(const Weights& w, const std::vector<float>& bias, const float* x, float* y, int64_t stride, bool add,
                 Part rows, int me, int64_t tokens);

    Decoder& decoder;
    const Shape& shape;
    Workspace& work;
    const Kernels& table;
    const std::vector<Token>& tokens;
    const std::vector<int64_t>& wanted;
    float* logits;
    const int64_t count, dim, group, packed_width;
    const int64_t row_group;  // rows that a product takes at once: shares are cut between them
    const int threads;        // at most: inside another parallel region the team is one
    const bool prefill;       // a whole prompt, whose attention packs its keys
    std::vector<Piece> pieces;
    std::vector<int64_t> first_piece;  // of each (token, head)
};

}  // namespace pylm::cpu
