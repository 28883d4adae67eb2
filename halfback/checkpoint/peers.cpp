#include "halfback/checkpoint/peers.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/transport/refusal.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace halfback {

namespace {

class Alone final : public Peers {
 public:
  Alone() : Peers(0, 1) {}
  std::vector<std::string> gather(const std::string& /*what*/, const std::string& text) override {
    return {text};
  }
};

// A message may quote a path that is not UTF-8.
std::string to_line(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string Peers::prefix(int process) const { return fmt::format("process {}: ", process); }

PeersPointer alone() { return std::make_shared<Alone>(); }

std::vector<nlohmann::json> together(Peers& peers,
                                     const std::string& what,
                                     const std::function<nlohmann::json()>& part) {
  if (peers.count() == 1) {
    return {part()};
  }
  nlohmann::json said;
  if (const auto refusal = refusal_of([&] { said = {{"gives", part()}}; })) {
    said = {{"error", refusal->what()}, {"is_usage", refusal->is_usage()}};
  }
  std::vector<nlohmann::json> all;
  for (const std::string& text : peers.gather(what, to_line(said))) {
    all.push_back(parse_json(text, what));
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].contains("error")) {
      const bool is_of_all = std::count(all.begin(), all.end(), all[i]) == peers.count();
      const std::string text =
          (is_of_all ? "" : peers.prefix(static_cast<int>(i))) + all[i]["error"].get<std::string>();
      if (all[i]["is_usage"].get<bool>()) {
        throw ConfigError(text);
      }
      throw FileError(text);
    }
    all[i] = nlohmann::json(all[i].at("gives"));
  }
  return all;
}

}  // namespace halfback
