// What an error says.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace halfback {

// Returns the text of the `Kind` that the call throws; fails the test when it throws none.
template <typename Kind, typename Call>
std::string text_of_thrown(Call&& call) {
  try {
    std::forward<Call>(call)();
  } catch (const Kind& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace halfback
