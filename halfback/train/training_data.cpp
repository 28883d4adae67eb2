#include "halfback/train/training_data.h"

#include "halfback/base/error.h"
#include "halfback/data/byte_text.h"
#include "halfback/data/idx_images.h"
#include "halfback/data/masked_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

namespace halfback {

namespace {

std::unique_ptr<Dataset> open_images(const TrainingConfig& config) {
  auto images =
      std::make_unique<IdxImages>(IdxImagesOptions{.directory = config.data,
                                                   .seed = config.seed(),
                                                   .has_random_labels = config.has_random_labels,
                                                   .num_train_images = config.num_train_images,
                                                   .augmentation = augmentation_of(config),
                                                   .num_views = compares_views(config) ? 2 : 1});
  const std::vector<std::int64_t> wanted = input_shape(config.model, 1);
  const bool is_flat = std::holds_alternative<MlpConfig>(config.model);
  const std::vector<std::int64_t> found =
      is_flat ? std::vector<std::int64_t>{1, images->height() * images->width()}
              : std::vector<std::int64_t>{1, 1, images->height(), images->width()};
  if (wanted != found || images->num_classes() > num_outcomes(config.model)) {
    throw ConfigError(fmt::format(
        "{}: images of 1 x {} x {} in {} classes; the model takes {} in {} classes; use {} "
        "--classes {}",
        config.data, images->height(), images->width(), images->num_classes(),
        fmt::join(wanted.begin() + 1, wanted.end(), " x "), num_outcomes(config.model),
        is_flat ? fmt::format("--inputs {}", images->height() * images->width())
                : fmt::format("--image-channels 1 --image-height {} --image-width {}",
                              images->height(), images->width()),
        images->num_classes()));
  }
  return images;
}

std::unique_ptr<Dataset> open_text(const TrainingConfig& config,
                                   const TokenText::OnEncoded& on_encoded) {
  std::error_code ignored;
  if (std::filesystem::is_directory(config.data, ignored)) {
    throw FileError(fmt::format(
        "{}: is a directory; {} takes a text file; images need --model resnet, cnn or mlp",
        config.data, model_name(config.model)));
  }
  if (config.augmentation && config.augmentation->is_any()) {
    throw ConfigError(fmt::format("--augment {} changes images, and {} reads text; leave it out",
                                  to_string(*config.augmentation), model_name(config.model)));
  }
  if (config.has_random_labels || config.num_train_images != 0) {
    throw ConfigError(fmt::format(
        "--random-labels and --training-images are for images, and {} reads text; leave "
        "them out",
        model_name(config.model)));
  }
  const Tokenizer& tokenizer = *config.tokenizer;
  const bool is_bytes = tokenizer.files().empty();
  const bool is_masked = task_of(config.model) == Task::MaskedToken;
  const std::int64_t vocabulary = num_outcomes(config.model);
  const std::int64_t needed = needed_vocabulary(config.model, tokenizer);
  if (vocabulary < needed) {
    throw ConfigError(fmt::format(
        "model: vocabulary {} is too small for {}{}; use --vocabulary {}", vocabulary,
        is_bytes ? "bytes" : fmt::format("a tokenizer of {} pieces", tokenizer.vocabulary()),
        is_masked ? " and the mask" : "", needed));
  }
  const std::int64_t length = items_per_sample(config.model);
  const TextOptions options{.path = config.data,
                            .sequence_length = length,
                            .validation_fraction = text_validation_fraction(config),
                            .seed = config.seed()};
  std::unique_ptr<Dataset> text;
  if (is_bytes) {
    text = std::make_unique<ByteText>(options);
  } else {
    text = std::make_unique<TokenText>(options, tokenizer, on_encoded);
  }
  if (!is_masked) {
    return text;
  }
  return std::make_unique<MaskedText>(
      std::move(text),
      MaskedTextOptions{.num_masked = std::get<BertConfig>(config.model).num_masked(length),
                        .mask_token = tokenizer.mask_token(),
                        .num_tokens = tokenizer.vocabulary(),
                        .seed = config.seed()});
}

}  // namespace

std::unique_ptr<Dataset> open_data(const TrainingConfig& config,
                                   const TokenText::OnEncoded& on_encoded) {
  return task_of(config.model) == Task::Classes ? open_images(config)
                                                : open_text(config, on_encoded);
}

double text_validation_fraction(const TrainingConfig& config) {
  return config.evaluate_every > 0 ? config.validation_fraction : 0.0;
}

std::int64_t needed_vocabulary(const ModelConfig& model, const Tokenizer& tokenizer) {
  return task_of(model) == Task::MaskedToken
             ? std::max(tokenizer.vocabulary(), tokenizer.mask_token() + 1)
             : tokenizer.vocabulary();
}

double num_target_bytes(std::span<const MicroBatch> micro_batches, const Tokenizer& tokenizer) {
  std::size_t bytes = 0;
  for (const MicroBatch& one : micro_batches) {
    const auto* const targets = one.targets.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < one.targets.numel(); ++i) {
      bytes += targets[i] >= 0 ? tokenizer.text_of(targets[i]).size() : 0;
    }
  }
  return static_cast<double>(bytes);
}

}  // namespace halfback
