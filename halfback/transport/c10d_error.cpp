#include "halfback/transport/c10d_error.h"

#include <c10/util/Exception.h>

#include <regex>

namespace halfback {

namespace {

// "Gloo connectFullMesh failed with [/pytorch/.../pair.cc:553] Connection closed by peer
// [127.0.0.1]:2449. This is typically ..."
std::string first_sentence(const std::string& text) {
  static const std::regex kPlaces(R"(\[/[^\]]*\] )");
  std::string first = std::regex_replace(text.substr(0, text.find('\n')), kPlaces, "");
  first = first.substr(0, first.find(". "));
  if (first.ends_with('.')) {
    first.pop_back();
  }
  return first;
}

}  // namespace

std::string c10d_reason() {
  try {
    throw;
  } catch (const c10::Error& error) {
    return first_sentence(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return first_sentence(error.what());
  }
}

}  // namespace halfback
