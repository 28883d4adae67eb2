#include "halfback/transport/c10d_error.h"

#include <c10/util/Exception.h>

#include <string_view>

namespace halfback {

namespace {

// "[/pytorch/.../pair.cc:553] Connection closed by peer [127.0.0.1]:2449. This is typically ..."
std::string first_sentence(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  if (const auto place = text.find("] "); text.starts_with('[') && place != text.npos) {
    text.remove_prefix(place + 2);
  }
  text = text.substr(0, text.find(". "));
  if (text.ends_with('.')) {
    text.remove_suffix(1);
  }
  return std::string(text);
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
