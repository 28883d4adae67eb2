#include "halfback/data/tokens/around_text.h"

#include "halfback/data/tokens/fields.h"

#include <array>

namespace halfback {

namespace {

void append(const std::vector<std::int32_t>& ids, std::vector<std::int32_t>& to) {
  to.insert(to.end(), ids.begin(), ids.end());
}

std::vector<std::int32_t> ids_of_special(Fields& fields, const nlohmann::json& one) {
  const nlohmann::json& known = fields.find("special_tokens");
  try {
    const std::string name = one.at("SpecialToken").at("id");
    return known.at(name).at("ids").get<std::vector<std::int32_t>>();
  } catch (const nlohmann::json::exception&) {
    fields.refuse(fmt::format("{} in single", quote(one.dump())),
                  "a Sequence or a SpecialToken of special_tokens");
  }
}

AroundText read_template(Fields& fields) {
  fields.ignore({"pair"});
  AroundText around;
  int num_texts = 0;
  for (const nlohmann::json& one : fields.find("single")) {
    if (one.is_object() && one.contains("Sequence")) {
      ++num_texts;
    } else {
      append(ids_of_special(fields, one), num_texts == 0 ? around.prefix : around.suffix);
    }
  }
  if (num_texts != 1) {
    fields.refuse(fmt::format("a single with {} Sequences", num_texts), "one");
  }
  return around;
}

std::int32_t read_pair(Fields& fields, const std::string& key) {
  const nlohmann::json& pair = fields.find(key);
  if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer()) {
    fields.refuse(fmt::format("{} {}", key, quote(pair.dump())), "[\"TOKEN\", ID]");
  }
  return pair[1].get<std::int32_t>();
}

AroundText of_byte_level(Fields& fields) {
  fields.ignore({"trim_offsets", "add_prefix_space", "use_regex"});
  return {};
}

AroundText read_pairs(Fields& fields) {
  fields.ignore({"trim_offsets", "add_prefix_space"});
  return {.prefix = {read_pair(fields, "cls")}, .suffix = {read_pair(fields, "sep")}};
}

AroundText read_sequence(Fields& fields) {
  AroundText all;
  for (const nlohmann::json& one : fields.find("processors")) {
    AroundText outer = read_post_processor(one, fields.part());
    append(all.prefix, outer.prefix);
    append(outer.suffix, all.suffix);
    all.prefix = outer.prefix;
  }
  return all;
}

constexpr auto kKinds = std::to_array<Kind<AroundText>>({{"BertProcessing", read_pairs},
                                                         {"ByteLevel", of_byte_level},
                                                         {"RobertaProcessing", read_pairs},
                                                         {"Sequence", read_sequence},
                                                         {"TemplateProcessing", read_template}});

}  // namespace

AroundText read_post_processor(const nlohmann::json& json, const std::string& part) {
  return read_part<AroundText>(json, part, {}, kKinds);
}

AroundText read_around_text(const nlohmann::json& config,
                            const std::function<std::int32_t(std::string_view)>& id_of,
                            const std::string& part) {
  Fields fields(config, part);
  const auto ids = [&](const char* add, const char* name) -> std::vector<std::int32_t> {
    const std::string token = named_token(config, name);
    if (!fields.get<bool>(add, false) || token.empty()) {
      return {};
    }
    const std::int32_t id = id_of(token);
    if (id < 0) {
      fields.refuse(fmt::format("{} {}, which is not a token,", name, quote(token)), "one that is");
    }
    return {id};
  };
  return {.prefix = ids("add_bos_token", "bos_token"), .suffix = ids("add_eos_token", "eos_token")};
}

std::string named_token(const nlohmann::json& config, const std::string& name) {
  const auto found = config.find(name);
  if (found == config.end()) {
    return {};
  }
  const nlohmann::json& text =
      found->is_object() ? found->value("content", nlohmann::json()) : *found;
  return text.is_string() ? text.get<std::string>() : "";
}

}  // namespace halfback
