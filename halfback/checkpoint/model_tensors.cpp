#include "halfback/checkpoint/model_tensors.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/base/text.h"

#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

namespace halfback {

namespace {

using Names = std::vector<std::string>;

// Prefixes that wrappers of a whole model add to its names.
constexpr std::array<std::string_view, 3> kWrappers = {"module.", "_orig_mod.",
                                                       "_fsdp_wrapped_module."};

// What is known about a model's names.
struct Naming {
  std::string base;                            // prefix of all but the head
  std::vector<std::string_view> head;          // prefixes of the names of the head
  std::map<std::string, std::string> aliases;  // a second name of a tensor
  std::vector<std::string_view> others;        // parts of names that change nothing
  bool has_old_norms = false;                  // gamma and beta
  bool can_untie = true;                       // the aliases, by config.json
  std::vector<std::string_view> other_heads;   // that a new head replaces
  const char* headless = "";                   // what a model without the head is called
};

Naming naming_of(const LlamaConfig& config) {
  Naming naming{.base = "model.", .others = {"rotary_emb.inv_freq"}, .headless = "LlamaModel"};
  if (config.has_tied_head) {
    naming.aliases = {{"lm_head.weight", "model.embed_tokens.weight"}};
  } else {
    naming.head = {"lm_head."};
  }
  return naming;
}

Naming naming_of(const BertConfig& config) {
  Naming naming{.base = "bert.",
                .others = {"embeddings.position_ids", "embeddings.token_type_ids", "bert.pooler.",
                           "cls.seq_relationship."},
                .has_old_norms = true,
                .can_untie = false,
                .other_heads = {"classifier.", "qa_outputs."},
                .headless = "BertModel"};
  if (config.has_head) {
    naming.head = {"cls.predictions."};
    naming.aliases = {{"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"},
                      {"cls.predictions.decoder.bias", "cls.predictions.bias"}};
  }
  return naming;
}

Naming naming_of(const MambaConfig& config) {
  Naming naming{.base = "backbone.", .headless = "MambaModel"};
  if (config.has_tied_head) {
    naming.aliases = {{"lm_head.weight", "backbone.embeddings.weight"}};
  } else {
    naming.head = {"lm_head."};
  }
  return naming;
}

Naming naming_of(const ResnetConfig& /*config*/) {
  return {.head = {"fc."}, .headless = "network without its classifier"};
}

Naming naming_of(const CnnConfig& /*config*/) { return {}; }
Naming naming_of(const MlpConfig& /*config*/) { return {}; }

// Returns the names of the whole model's tensors, each once.
std::set<std::string> names_of(const ModelConfig& config) {
  std::set<std::string> names;
  for (const StageLayers& stage : build_model(config, {num_blocks(config)})) {
    for (const Parameter* parameter : stage.parameters()) {
      for (const NamedRows& rows : parameter->checkpoint_rows) {
        names.insert(rows.name);
      }
      if (parameter->checkpoint_rows.empty()) {
        names.insert(parameter->name);
      }
    }
  }
  return names;
}

std::string listed(const Names& names) {
  constexpr std::size_t kShown = 3;
  std::vector<std::string> quoted;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    quoted.push_back(quote(names[i]));
  }
  return fmt::format("{}{}", fmt::join(quoted, ", "), names.size() > kShown ? ", ..." : "");
}

// Removes what wrappers have put in front of all names.
Names without_wrappers(Names names, Names& notes) {
  for (std::size_t i = 0; i < kWrappers.size();) {
    const std::string_view wrapper = kWrappers[i++];
    const bool is_everywhere =
        !names.empty() && std::all_of(names.begin(), names.end(), [&](const std::string& name) {
          return name.starts_with(wrapper);
        });
    if (is_everywhere) {
      for (std::string& name : names) {
        name.erase(0, wrapper.size());
      }
      notes.push_back(
          fmt::format("all names begin with {}, as a wrapper writes them; it is left out",
                      quote(std::string(wrapper))));
      i = 0;  // one wrapper may be inside another
    }
  }
  return names;
}

std::string with_new_norm(const std::string& name) {
  for (const auto& [old, now] : {std::pair("LayerNorm.gamma", "LayerNorm.weight"),
                                 std::pair("LayerNorm.beta", "LayerNorm.bias")}) {
    if (name.ends_with(old)) {
      return name.substr(0, name.size() - std::string_view(old).size()) + now;
    }
  }
  return name;
}

}  // namespace

ModelConfig with_new_head(const ModelConfig& config, const ModelConfig& like) {
  ModelConfig whole = config;
  if (auto* const bert = std::get_if<BertConfig>(&whole)) {
    bert->has_head = true;
  } else if (auto* const resnet = std::get_if<ResnetConfig>(&whole)) {
    resnet->num_classes = num_outcomes(like);
  }
  return whole;
}

// Finds out what each stored tensor is.
class ModelTensors::Reader {
 public:
  Reader(const std::string& source, const ModelConfig& config, Head head, ModelTensors& to)
      : source_(source),
        model_(model_name(config)),
        naming_(std::visit([](const auto& one) { return naming_of(one); }, config)),
        wanted_(names_of(config)),
        head_(head),
        to_(to) {
    if (head == Head::New && naming_.head.empty()) {
      throw ConfigError(fmt::format(
          "{}: a new head was asked for, and this {} has none of its own; leave --new-head out",
          source_, model_));
    }
  }

  void read() {
    const Names stored = to_.files_.names();
    const Names names = named_as_ours(stored);
    std::vector<std::size_t> aliases;
    Names replaced;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (head_ == Head::New && is_head(names[i])) {
        continue;
      }
      if (head_ == Head::New && begins_with(naming_.other_heads, names[i])) {
        replaced.push_back(names[i]);
      } else if (wanted_.count(names[i]) != 0) {
        take(names[i], stored[i]);
      } else if (naming_.aliases.count(names[i]) != 0) {
        aliases.push_back(i);
      } else if (is_other(names[i])) {
        to_.others_.push_back({names[i], to_.files_.get(stored[i])});
      } else {
        left_over_.push_back(stored[i]);
      }
    }
    for (const std::size_t i : aliases) {
      take_alias(stored[i], naming_.aliases.at(names[i]));
    }
    if (!replaced.empty()) {
      to_.notes_.push_back(fmt::format("the new head takes the place of {}", listed(replaced)));
    }
    require_all();
  }

 private:
  static bool begins_with(const std::vector<std::string_view>& parts, const std::string& name) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](std::string_view one) { return name.starts_with(one); });
  }

  bool is_head(const std::string& name) const { return begins_with(naming_.head, name); }

  bool is_other(const std::string& name) const {
    return std::any_of(naming_.others.begin(), naming_.others.end(),
                       [&](std::string_view part) { return name.find(part) != std::string::npos; });
  }

  Names named_as_ours(const Names& stored) const {
    Names names = without_wrappers(stored, to_.notes_);
    const bool has_base = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return name.starts_with(naming_.base);
    });
    for (std::string& name : names) {
      if (naming_.has_old_norms) {
        name = with_new_norm(name);
      }
      if (!has_base && wanted_.count(name) == 0 && !is_head(name)) {
        name.insert(0, naming_.base);
      }
    }
    return names;
  }

  void take(const std::string& name, const std::string& stored) {
    const auto [found, is_new] = to_.file_names_.emplace(name, stored);
    if (!is_new) {
      throw FileError(fmt::format(
          "{}: tensors {} and {} are two names of one; expected one of them; take the other out",
          source_, quote(found->second), quote(stored)));
    }
  }

  // A second copy of a tensor must be equal; it may be there instead of the first.
  void take_alias(const std::string& stored, const std::string& original) {
    const auto [found, is_new] = to_.file_names_.emplace(original, stored);
    if (!is_new && !at::equal(to_.files_.get(stored), to_.files_.get(found->second))) {
      throw FileError(fmt::format(
          "{}: tensors {} and {} differ; expected equal ones, as the config ties them; {}", source_,
          quote(stored), quote(found->second),
          naming_.can_untie
              ? "set \"tie_word_embeddings\" of config.json to false if they are two, "
                "or take one out"
              : "take the first out, which a tied model does not use"));
    }
  }

  void require_all() const {
    Names missing;
    bool lacks_head_only = true;
    for (const std::string& name : wanted_) {
      if (to_.file_names_.count(name) == 0 && !(head_ == Head::New && is_head(name))) {
        missing.push_back(name);
        lacks_head_only = lacks_head_only && is_head(name);
      }
    }
    if (!missing.empty() && lacks_head_only) {
      throw FileError(fmt::format(
          "{}: has no head ({} is not there): a {}; expected a whole {}; use --new-head to train a "
          "new one",
          source_, listed({missing.front()}), naming_.headless, model_));
    }
    if (!missing.empty()) {
      throw FileError(fmt::format(
          "{}: has no tensor {}{}; it holds {} tensors; check that the file belongs to this model",
          source_, quote(missing.front()), suggestion(missing.front(), to_.files_.names()),
          to_.files_.names().size()));
    }
    if (!left_over_.empty()) {
      throw FileError(fmt::format(
          "{}: holds {} tensor{} that a {} of this config.json does not have: {}; expected none, "
          "since the function would change without them; correct config.json, or take them out",
          source_, left_over_.size(), left_over_.size() == 1 ? "" : "s", model_,
          listed(left_over_)));
    }
  }

  const std::string source_;
  const std::string model_;
  const Naming naming_;
  const std::set<std::string> wanted_;
  const Head head_;
  ModelTensors& to_;
  Names left_over_;
};

ModelTensors::ModelTensors(const std::filesystem::path& directory,
                           const ModelConfig& config,
                           Head head)
    : files_(directory) {
  Reader(directory.string(), head == Head::New ? with_new_head(config, config) : config, head,
         *this)
      .read();
  if (!others_.empty()) {
    Names names;
    for (const NamedTensor& other : others_) {
      names.push_back(other.name);
    }
    notes_.push_back(
        fmt::format("{} tensor{} of the checkpoint that training does not change {} "
                    "kept as {}: {}",
                    names.size(), names.size() == 1 ? "" : "s", names.size() == 1 ? "is" : "are",
                    names.size() == 1 ? "it is" : "they are", listed(names)));
  }
}

void ModelTensors::copy(const std::string& name, at::Tensor to) const {
  to.copy_(files_.expect_number(file_names_.at(name), to.sizes(), to.scalar_type()));
}

std::map<std::string, at::ScalarType> ModelTensors::dtypes() const {
  std::map<std::string, at::ScalarType> all;
  for (const auto& [ours, stored] : file_names_) {
    all[ours] = files_.get(stored).scalar_type();
  }
  return all;
}

}  // namespace halfback
