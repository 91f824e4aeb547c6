// Token files as they are found in the wild, mapped and checked: our own shards, headerless uint16 or uint32, numpy's
// .npy, llm.c's header, Megatron's .bin with .idx.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pylm::loader {

/// A file mapped for reading; unmapped when it goes.
class Mapping {
  public:
    Mapping() = default;
    explicit Mapping(const std::string& path);
    Mapping(Mapping&& other) noexcept { *this = std::move(other); }
    Mapping& operator=(Mapping&& other) noexcept;
    ~Mapping();

    const uint8_t* data() const { return bytes; }
    size_t size() const { return length; }
    /// An Error where the file has been shortened since: reading the lost pages would end the process.
    void check(const std::string& path) const;

  private:
    const uint8_t* bytes = nullptr;
    size_t length = 0;
    uint64_t device = 0, inode = 0;
};

/// What is known of a shard before it is opened.
struct ShardSpec {
    std::string path;
    int width = 0;        // bytes a token; 0: as the file says, uint16 where it says nothing
    int64_t tokens = -1;  // what the manifest promises; -1: nothing does
    std::string index;    // our .idx of document starts; empty: none
    std::string mask{};   // our .mask of tokens that count as targets; empty: all do
};

class Shard {
  public:
    explicit Shard(const ShardSpec& spec);

    const std::string& path() const { return name; }
    int width() const { return token_width; }
    int64_t tokens() const { return count; }
    /// The first token; `width()` says of what type. Aligned to that type.
    const uint8_t* data() const { return first; }
    /// Starts of documents, in tokens, and the end of the last; empty where nothing says.
    const std::vector<int64_t>& starts() const { return document_starts; }
    bool masked() const { return bits.data() != nullptr; }
    /// Whether a token counts as a target: bit `token % 8` of byte `token / 8`. Only where `masked()`.
    bool counts(int64_t token) const { return bits.data()[token / 8] >> token % 8 & 1; }
    void check() const {
        file.check(name);
        if (masked()) bits.check(mask_name);
    }

  private:
    void place(size_t offset, int width, int64_t tokens, const std::string& format);
    bool read_npy();
    bool read_llmc();
    bool read_megatron();
    void read_raw(const ShardSpec& spec);
    void read_index(const std::string& path);
    void read_mask();

    std::string name, mask_name;
    Mapping file, bits;
    const uint8_t* first = nullptr;
    int token_width = 2;
    int64_t count = 0;
    std::vector<int64_t> document_starts;
};

}  // namespace pylm::loader
