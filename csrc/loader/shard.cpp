// Maps token files, finds out their format, and refuses what does not add up.
#include "loader/shard.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "error.hpp"

namespace pylm::loader {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian and read in place");

constexpr int32_t LLMC_UINT16 = 20240520, LLMC_UINT32 = 20240801;
constexpr size_t LLMC_HEADER = 256 * sizeof(int32_t);

template <class T>
T load(const uint8_t* at) {
    // SAFETY: callers have checked that sizeof(T) bytes are there; memcpy asks for no alignment
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

[[noreturn]] void bad(const std::string& message, const std::string& hint = "") {
    throw Error(Kind::data, message, hint);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Four bytes at the start that token files do not have: a headerless shard has no magic of its own to check.
const char* foreign(const uint8_t* bytes, size_t size) {
    static const struct {
        const char* magic;
        size_t length;
        const char* what;
    } known[] = {
        {"\x1f\x8b\x08", 3, "a gzip file"},
        {"\x28\xb5\x2f\xfd", 4, "a zstd file"},
        {"PK\x03\x04", 4, "a zip file"},
        {"PAR1", 4, "a parquet file"},
        {"\x7f"
         "ELF",
         4, "a program"},
        {"\x89PNG", 4, "an image"},
        {"\x80\x02}q", 4, "a pickle"},
        {"GGUF", 4, "a GGUF file"},
        {"MMIDIDX", 7, "a Megatron index: name the .bin beside it"},
    };
    for (const auto& one : known)
        if (size >= one.length && std::memcmp(bytes, one.magic, one.length) == 0) return one.what;
    return nullptr;
}

}  // namespace

Mapping::Mapping(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) bad(path + ": " + std::strerror(errno), "name a file of tokens that you may read");
    struct stat about{};
    const bool known = ::fstat(file, &about) == 0;
    if (!known || !S_ISREG(about.st_mode)) {
        ::close(file);
        bad(path + ": not a regular file", "tokens are read from regular files");
    }
    length = static_cast<size_t>(about.st_size);
    device = about.st_dev;
    inode = about.st_ino;
    if (length > 0) {
        void* mapped = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file, 0);
        const int why = errno;
        ::close(file);
        if (mapped == MAP_FAILED) bad(path + ": cannot be mapped: " + std::strerror(why));
        // SAFETY: the mapping of `length` bytes belongs to this object alone and ends in its destructor
        bytes = static_cast<const uint8_t*>(mapped);
    } else {
        ::close(file);
    }
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
    std::swap(bytes, other.bytes);
    std::swap(length, other.length);
    std::swap(device, other.device);
    std::swap(inode, other.inode);
    return *this;
}

Mapping::~Mapping() {
    if (bytes) ::munmap(const_cast<uint8_t*>(bytes), length);
}

void Mapping::check(const std::string& path) const {
    struct stat about{};
    // a file removed or replaced under its name lives on in the mapping; only the very file cut short is a danger
    if (::stat(path.c_str(), &about) != 0 || about.st_dev != device || about.st_ino != inode) return;
    if (static_cast<size_t>(about.st_size) < length)
        bad(path + ": shortened from " + std::to_string(length) + " to " + std::to_string(about.st_size) +
                " bytes while it was in use",
            "write the shard again, then run again");
}

Shard::Shard(const ShardSpec& spec) : name(spec.path), mask_name(spec.mask), file(spec.path) {
    if (spec.tokens >= 0) {
        // the manifest's count of tokens says whether llm.c's header stands before them
        const auto expected = static_cast<uint64_t>(spec.tokens) * (spec.width ? spec.width : 2);
        if (file.size() != LLMC_HEADER + expected || !read_llmc() || count != spec.tokens) read_raw(spec);
    } else if (!read_npy() && !read_llmc() && !read_megatron())
        read_raw(spec);
    if (!spec.index.empty()) read_index(spec.index);
    if (!mask_name.empty() && count > 0) read_mask();
}

void Shard::place(size_t offset, int width, int64_t tokens, const std::string& format) {
    if (tokens < 0 || offset > file.size() || static_cast<uint64_t>(tokens) > (file.size() - offset) / width)
        bad(name + ": " + format + " promises " + std::to_string(tokens) + " tokens of " + std::to_string(width) +
                " bytes from byte " + std::to_string(offset) + ", the file ends at byte " + std::to_string(file.size()),
            "the file is cut short: write or copy it again");
    // a mapping starts on a page, so the offset alone decides whether tokens may be read as integers in place
    if (offset % width != 0) bad(name + ": tokens start at byte " + std::to_string(offset) + ", not aligned");
    first = file.data() + offset;
    token_width = width;
    count = tokens;
}

bool Shard::read_npy() {
    const uint8_t* bytes = file.data();
    if (file.size() < 10 || std::memcmp(bytes, "\x93NUMPY", 6) != 0) return false;
    const int version = bytes[6];
    const size_t start = version >= 2 ? 12 : 10;
    if (version < 1 || version > 3 || file.size() < start) bad(name + ": .npy header of unknown version");
    const size_t length = version >= 2 ? load<uint32_t>(bytes + 8) : load<uint16_t>(bytes + 8);
    if (length > file.size() - start) bad(name + ": .npy header runs past the end of the file");
    const std::string header(reinterpret_cast<const char*>(bytes) + start, length);
    const auto has = [&](const char* text) { return header.find(text) != std::string::npos; };
    const int width = has("'<u2'") ? 2 : has("'<u4'") || has("'<i4'") ? 4 : 0;
    if (!width) bad(name + ": .npy of another type than uint16, uint32 or int32", "save it as one of these");
    const size_t open = header.find('('), close = header.find(')');
    if (open == std::string::npos || close == std::string::npos || close < open)
        bad(name + ": .npy header names no shape");
    const std::string shape = header.substr(open + 1, close - open - 1);
    size_t digits = 0;
    int64_t tokens = 0;
    while (digits < shape.size() && digits < 18 && shape[digits] >= '0' && shape[digits] <= '9')
        tokens = tokens * 10 + (shape[digits++] - '0');
    if (digits == 0 || shape.find_first_not_of(", ", digits) != std::string::npos)
        bad(name + ": .npy of shape (" + shape + ")", "tokens are read from arrays of one dimension");
    place(start + length, width, tokens, "the .npy header");
    return true;
}

bool Shard::read_llmc() {
    if (file.size() < 8) return false;
    const auto magic = load<int32_t>(file.data()), version = load<int32_t>(file.data() + 4);
    const bool narrow = magic == LLMC_UINT16, wide = magic == LLMC_UINT32;
    // the magic alone may be two tokens of a headerless file; a small version beside it is no accident
    if ((!narrow && !wide) || version < 1 || version > 64) return false;
    if (narrow ? version != 1 : version != 7)
        bad(name + ": llm.c header of version " + std::to_string(version),
            "versions 1 (uint16) and 7 (uint32) are read");
    if (file.size() < LLMC_HEADER) bad(name + ": cut short inside its llm.c header of 1024 bytes");
    place(LLMC_HEADER, narrow ? 2 : 4, load<int32_t>(file.data() + 8), "the llm.c header");
    return true;
}

bool Shard::read_megatron() {
    if (name.size() < 4 || name.compare(name.size() - 4, 4, ".bin") != 0) return false;
    const std::string beside = name.substr(0, name.size() - 4) + ".idx";
    if (!exists(beside)) return false;
    const Mapping index(beside);
    constexpr size_t HEADER = 9 + 8 + 1 + 8 + 8;
    const uint8_t* bytes = index.data();
    if (index.size() < 9 || std::memcmp(bytes, "MMIDIDX\0\0", 9) != 0) return false;
    if (index.size() < HEADER) bad(beside + ": cut short inside its header");
    if (load<uint64_t>(bytes + 9) != 1) bad(beside + ": Megatron index of an unknown version", "version 1 is read");
    const int code = bytes[17], width = code == 8 ? 2 : code == 4 ? 4 : 0;
    if (!width) bad(beside + ": Megatron type code " + std::to_string(code), "uint16 (8) and int32 (4) are read");
    const auto sequences = load<uint64_t>(bytes + 18);
    if (sequences > (index.size() - HEADER) / 12)
        bad(beside + ": promises " + std::to_string(sequences) + " sequences, the file ends at byte " +
            std::to_string(index.size()));
    document_starts.reserve(sequences + 1);
    document_starts.push_back(0);
    for (uint64_t i = 0; i < sequences; ++i) {
        const auto length = load<int32_t>(bytes + HEADER + 4 * i);
        const auto pointer = load<int64_t>(bytes + HEADER + 4 * sequences + 8 * i);
        if (length < 0 || pointer != document_starts.back() * width)
            bad(beside + ": sequence " + std::to_string(i) + " does not follow the one before it",
                "sequences are read where they lie one after another");
        document_starts.push_back(document_starts.back() + length);
    }
    place(0, width, document_starts.back(), beside);
    return true;
}

void Shard::read_raw(const ShardSpec& spec) {
    const int width = spec.width ? spec.width : 2;
    if (spec.tokens >= 0) {
        const auto expected = static_cast<uint64_t>(spec.tokens) * width;
        if (file.size() != expected)
            bad(name + ": " + std::to_string(file.size()) + " bytes where the manifest says " +
                    std::to_string(expected),
                "the shard is damaged: run pylm tokenize again, it writes what is missing");
    } else if (const char* what = foreign(file.data(), file.size())) {
        bad(name + ": " + what + ", not tokens", "name shards, .npy, llm.c or Megatron files");
    }
    if (file.size() % width != 0)
        bad(name + ": " + std::to_string(file.size()) + " bytes are no whole number of tokens of " +
                std::to_string(width) + " bytes; the last one starts at byte " +
                std::to_string(file.size() / width * width),
            "the file is cut short or of another type");
    place(0, width, static_cast<int64_t>(file.size() / width), "the file");
}

void Shard::read_index(const std::string& path) {
    const Mapping index(path);
    if (index.size() % 8 != 0 || index.size() < 8)
        bad(path + ": " + std::to_string(index.size()) + " bytes are no list of 64-bit starts",
            "the index is damaged: run pylm tokenize again");
    const size_t entries = index.size() / 8;
    document_starts.resize(entries);
    std::memcpy(document_starts.data(), index.data(), index.size());
    for (size_t i = 0; i < entries; ++i)
        if (document_starts[i] < (i ? document_starts[i - 1] : 0) || document_starts[i] > count ||
            (i == 0 && document_starts[0] != 0))
            bad(path + ": the start of document " + std::to_string(i) + " (byte " + std::to_string(8 * i) +
                    ") is out of order or past the shard's end",
                "the index is damaged: run pylm tokenize again");
    if (document_starts.back() != count)
        bad(path + ": ends at token " + std::to_string(document_starts.back()) + ", the shard at " +
                std::to_string(count),
            "the index belongs to another shard: run pylm tokenize again");
}

void Shard::read_mask() {
    bits = Mapping(mask_name);
    const auto expected = static_cast<size_t>((count + 7) / 8);
    if (bits.size() != expected)
        bad(mask_name + ": " + std::to_string(bits.size()) + " bytes where the shard's " + std::to_string(count) +
                " tokens have " + std::to_string(expected),
            "the mask is damaged or of another shard: make the folder again");
}

}  // namespace pylm::loader
