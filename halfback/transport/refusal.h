// What a process refuses before its work begins: a mistake of whoever started it. All processes of
// a run throw the same refusal, so that one of them can report it.
#pragma once

#include "halfback/base/error.h"

#include <functional>
#include <optional>
#include <string>

namespace halfback {

class RefusedError : public Error {
 public:
  RefusedError(const std::string& text, bool is_usage) : Error(text), is_usage_(is_usage) {}
  // Whether it was a ConfigError.
  bool is_usage() const { return is_usage_; }

 private:
  bool is_usage_;
};

// Does the work and returns what it threw. Rethrows what all processes know already: RefusedError
// and TransportError.
std::optional<RefusedError> refusal_of(const std::function<void()>& work);

}  // namespace halfback
