// The errors that somebody outside can cause, and the check for our own mistakes.
//
// Text of an error: "where: what was found; what was expected; what to do", with both numbers of a
// comparison. The command line prints it as one line "error: <text>". The library neither prints
// nor exits.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace halfback {

// Base of all errors that bad input, a bad file or a lost peer can cause.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A shape or an option that cannot work. Usage: the command line exits with 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

// A rule of schedules is broken, or a schedule file does not parse.
class ScheduleError : public Error {
 public:
  using Error::Error;

  // Where the rule is broken, for programs; the text contains it too.
  struct Place {
    int rank = 0;
    int position = 0;    // in the rank's list
    std::string action;  // "" after the end of the list
  };
  ScheduleError(const std::string& text, Place place) : Error(text), place_(std::move(place)) {}
  const std::optional<Place>& place() const { return place_; }

 private:
  std::optional<Place> place_;
};

// A file that cannot be read, written or understood.
class FileError : public Error {
 public:
  using Error::Error;
};

// A loss or a norm is not finite any more.
class DivergedError : public Error {
 public:
  using Error::Error;
};

// A peer is gone or a deadline has passed.
class TransportError : public Error {
 public:
  using Error::Error;
};

namespace detail {
// Throws std::logic_error naming the expression and its place.
[[noreturn]] void check_failed(const char* expression,
                               const char* file,
                               int line,
                               const std::string& values);
}  // namespace detail

}  // namespace halfback

// Checks an invariant of our own code; never user input. `values` is a text for the message.
#define HALFBACK_CHECK(expression, values) \
  (static_cast<bool>(expression)           \
       ? static_cast<void>(0)              \
       : ::halfback::detail::check_failed(#expression, __FILE__, __LINE__, values))
