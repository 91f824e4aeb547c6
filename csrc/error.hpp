// The errors that csrc/ raises on purpose: a kind, one sentence, and what to do next. bind/module.cpp turns them into
// pylm.errors; anything else that escapes is a defect.
#pragma once
#include <exception>
#include <string>
#include <utility>

namespace pylm {

enum class Kind { usage, data, kernel };

class Error : public std::exception {
  public:
    Error(Kind kind, std::string message, std::string hint = "")
        : kind(kind), message(std::move(message)), hint(std::move(hint)) {}
    const char* what() const noexcept override { return message.c_str(); }

    Kind kind;
    std::string message;
    std::string hint;
};

}  // namespace pylm
