// Patterns that split and replace text, in Oniguruma's dialect, as in the tokenizers library. PCRE2
// matches them; a pattern that the two could understand differently is refused.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace halfback {

// Thread-safe.
class Pattern {
 public:
  // Compiles {"Regex": ...} or {"String": ...}. Throws FileError beginning with `part`.
  Pattern(const nlohmann::json& json, const std::string& part);

  // Calls back with begin and end of each match in valid UTF-8, in order; matches do not overlap.
  void for_each_match(std::string_view text,
                      const std::function<void(std::size_t, std::size_t)>& on_match) const;

  // Returns the text with each match replaced by `content`.
  std::string replace(std::string_view text, std::string_view content) const;

 private:
  std::shared_ptr<void> code_;
};

}  // namespace halfback
