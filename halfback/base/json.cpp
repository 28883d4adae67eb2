#include "halfback/base/json.h"

#include "halfback/base/error.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unordered_set>
#include <utility>
#include <vector>

namespace halfback {

namespace {

// Refuses deep nesting and repeated keys while the parser runs.
class Guard {
 public:
  explicit Guard(std::string_view source) : source_(source) {}

  void enter(int depth) {
    if (depth >= kMaxJsonDepth) {
      throw FileError(
          fmt::format("{}: JSON nests deeper than {} levels; the file is damaged or hostile; fetch "
                      "or write it again",
                      source_, kMaxJsonDepth));
    }
    const auto num_open = static_cast<std::size_t>(depth) + 1;
    keys_.resize(num_open);
    keys_.back().clear();
  }

  void add_key(int depth, const std::string& key) {
    // The parser counts a key as one level inside its object.
    if (!keys_.at(static_cast<std::size_t>(depth) - 1).insert(key).second) {
      throw FileError(
          fmt::format("{}: JSON key {} comes twice in one object; each may come once; take one out",
                      source_, quote(key)));
    }
  }

 private:
  std::string_view source_;
  std::vector<std::unordered_set<std::string>> keys_;  // keys of each open object, outermost first
};

}  // namespace

nlohmann::json parse_json(std::string_view text, std::string_view source) {
  using Event = nlohmann::json::parse_event_t;
  // The parser takes a NUL byte as the end of the text.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw FileError(fmt::format("{}: NUL byte at {}; JSON is text; fetch or write the file again",
                                source, nul));
  }
  Guard guard(source);
  const auto watch = [&guard](int depth, Event event, nlohmann::json& parsed) {
    if (event == Event::object_start || event == Event::array_start) {
      guard.enter(depth);
    } else if (event == Event::key) {
      guard.add_key(depth, parsed.get_ref<const std::string&>());
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: not JSON: {}", source, detail::json_reason(error.what())));
  }
}

std::string quote(std::string_view text) {
  constexpr std::size_t kMaxShown = 80;
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  const std::string shown(text.substr(0, kMaxShown));
  return nlohmann::json(text.size() > kMaxShown ? shown + "..." : shown)
      .dump(-1, ' ', /*ensure_ascii=*/false, kReplace);
}

namespace detail {

std::string json_reason(const char* what) {
  constexpr std::size_t kMaxShown = 160;
  std::string_view reason(what);
  if (const std::size_t tag = reason.find("] "); tag != std::string_view::npos) {
    reason.remove_prefix(tag + 2);
  }
  const std::string escaped =
      nlohmann::json(std::string(reason.substr(0, kMaxShown)))
          .dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
  return escaped.substr(1, escaped.size() - 2);
}

}  // namespace detail

}  // namespace halfback
