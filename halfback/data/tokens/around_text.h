// The tokens that a model expects around a text, from tokenizer.json and tokenizer_config.json.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

struct AroundText {
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;
};

// Reads a post-processor; null means none. `part` names the JSON in messages. Throws FileError.
AroundText read_post_processor(const nlohmann::json& json, const std::string& part);

// Reads add_bos_token and add_eos_token of a tokenizer_config.json. transformers uses them only if
// there is no tokenizer.json beside it. `id_of` returns the id of a token, -1 for none. Throws
// FileError.
AroundText read_around_text(const nlohmann::json& config,
                            const std::function<std::int32_t(std::string_view)>& id_of,
                            const std::string& part);

// Returns the text of a named token, such as "bos_token"; "" for none.
std::string named_token(const nlohmann::json& config, const std::string& name);

}  // namespace halfback
