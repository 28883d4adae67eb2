#include "halfback/checkpoint/config_reader.h"

#include "halfback/base/text.h"

#include <algorithm>
#include <vector>

namespace halfback {

namespace {

// Tokens, generation, initialization and bookkeeping, as in transformers' PretrainedConfig.
constexpr std::string_view kHarmless =
    "_attn_implementation _attn_implementation_autoset _commit_hash _name_or_path "
    "architectures bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward "
    "cls_token_id decoder_start_token_id diversity_penalty dtype early_stopping "
    "encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty "
    "finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label "
    "initializer_factor initializer_range is_encoder_decoder label2id length_penalty "
    "mask_token_id max_length min_length model_type no_repeat_ngram_size num_beam_groups "
    "num_beams num_labels num_return_sequences output_attentions output_hidden_states "
    "output_past output_scores pad_token_id prefix problem_type remove_invalid_values "
    "repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens "
    "task_specific_params temperature tie_encoder_decoder tokenizer_class top_k top_p "
    "torch_dtype torchscript transformers_version typical_p unk_token_id use_bfloat16 "
    "use_cache do_sample";

std::int64_t usual_sequence(std::int64_t longest) { return std::min(longest, std::int64_t{2048}); }

bool is_off(const nlohmann::json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

}  // namespace

void write_sequence(std::int64_t sequence, std::int64_t longest, nlohmann::json& json) {
  if (sequence != usual_sequence(longest)) {
    json[kSequenceKey] = sequence;
  }
}

std::int64_t ConfigReader::read_sequence(std::int64_t longest) const {
  return read<std::int64_t>(kSequenceKey, usual_sequence(longest));
}

void ConfigReader::require_known(std::initializer_list<std::string_view> keys) const {
  const auto is_among = [](const auto& all, std::string_view key) {
    return std::find(all.begin(), all.end(), key) != all.end();
  };
  const std::vector<std::string_view> harmless = split(kHarmless, ' ');
  for (const auto& [key, value] : json_.items()) {
    if (!known_.contains(key) && !is_among(keys, key) && !is_among(harmless, key) &&
        !is_off(value)) {
      throw FileError(fmt::format(
          "{}: {} is {}, a key that is not known; expected the config of {}; take the key out if "
          "it does not change what the model computes",
          source_, quote(key), quote(value.dump()), what_));
    }
  }
}

}  // namespace halfback
