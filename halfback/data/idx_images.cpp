#include "halfback/data/idx_images.h"

#include "halfback/base/error.h"
#include "halfback/base/idx_header.h"
#include "halfback/base/keyed_random.h"
#include "halfback/data/crc32.h"
#include "halfback/data/gzip.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <system_error>
#include <vector>

namespace halfback {

namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 32;
constexpr double kWhite = 255.0;
constexpr const char* kInstall =
    "install Debian's dataset-fashion-mnist and use /usr/share/datasets/fashion-mnist, or another "
    "directory";

std::filesystem::path find_file(const std::filesystem::path& directory, const std::string& name) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored)) {
    throw FileError(fmt::format(
        "{}: {}; expected a directory of images as MNIST has them; {}", directory.string(),
        std::filesystem::exists(directory, ignored) ? "is a file" : "is not there", kInstall));
  }
  for (const std::string& candidate : {name, name + ".gz"}) {
    if (std::filesystem::exists(directory / candidate)) {
      return directory / candidate;
    }
  }
  throw FileError(
      fmt::format("{}: has neither {} nor {}.gz; expected images and labels as MNIST has them; {}",
                  directory.string(), name, name, kInstall));
}

// A file's array, checked to have the expected number of dimensions.
struct IdxArray {
  std::filesystem::path path;
  std::vector<std::uint32_t> shape;
  std::string bytes;
};

IdxArray read_array(const std::filesystem::path& path, std::size_t num_dimensions) {
  std::string file = read_maybe_gzip(path, kMaxFileBytes);
  const IdxHeader header = parse_idx_header(file, path.string());
  if (header.shape.size() != num_dimensions) {
    throw FileError(
        fmt::format("{}: has {} dimensions; expected {} ({}); use the file of that name",
                    path.string(), header.shape.size(), num_dimensions,
                    num_dimensions == 1 ? "labels" : "images, rows, columns"));
  }
  if (header.num_bytes == 0) {
    throw FileError(fmt::format("{}: is empty; expected at least one {}; fetch the file again",
                                path.string(), num_dimensions == 1 ? "label" : "image"));
  }
  file.erase(0, header.data_begin);
  return {.path = path, .shape = header.shape, .bytes = std::move(file)};
}

std::int64_t label_of(char byte) { return static_cast<unsigned char>(byte); }

std::int64_t largest_label(const std::string& labels) {
  std::int64_t largest = 0;
  for (const char byte : labels) {
    largest = std::max(largest, label_of(byte));
  }
  return largest;
}

}  // namespace

IdxImages::Set IdxImages::read_set(const std::filesystem::path& directory,
                                   const std::string& prefix) {
  IdxArray images = read_array(find_file(directory, prefix + "-images-idx3-ubyte"), 3);
  IdxArray labels = read_array(find_file(directory, prefix + "-labels-idx1-ubyte"), 1);
  if (images.shape[0] != labels.shape[0]) {
    throw FileError(fmt::format(
        "{}: has {} images and {} {} labels; expected as many; use files "
        "that belong together",
        images.path.string(), images.shape[0], labels.path.filename().string(), labels.shape[0]));
  }
  return {.pixels = std::move(images.bytes),
          .labels = std::move(labels.bytes),
          .num_images = images.shape[0],
          .height = images.shape[1],
          .width = images.shape[2]};
}

void IdxImages::check_fit(const std::filesystem::path& directory) const {
  if (train_.height != test_.height || train_.width != test_.width) {
    throw FileError(fmt::format(
        "{}: training images have {} x {} pixels and test images {} x {}; expected the same; use "
        "files that belong together",
        directory.string(), train_.height, train_.width, test_.height, test_.width));
  }
  const std::int64_t largest = largest_label(test_.labels);
  if (largest >= num_classes_) {
    throw FileError(fmt::format(
        "{}: a test label is {} and the largest training label {}; expected none above that; use "
        "files that belong together",
        directory.string(), largest, num_classes_ - 1));
  }
}

void IdxImages::measure_pixels(const std::filesystem::path& directory) {
  std::array<std::int64_t, 256> counts = {};
  for (const char byte : train_.pixels) {
    ++counts[static_cast<unsigned char>(byte)];
  }
  const auto total = static_cast<double>(train_.pixels.size());
  double sum = 0.0;
  double squares = 0.0;
  for (std::size_t value = 0; value < counts.size(); ++value) {
    const double level = static_cast<double>(value) / kWhite;
    sum += static_cast<double>(counts[value]) * level;
    squares += static_cast<double>(counts[value]) * level * level;
  }
  mean_ = sum / total;
  if (std::count(counts.begin(), counts.end(), 0) == 255) {
    throw FileError(fmt::format(
        "{}: all pixels of its training images are {}; expected images; fetch the files again",
        directory.string(), static_cast<unsigned char>(train_.pixels.front())));
  }
  standard_deviation_ = std::sqrt(squares / total - mean_ * mean_);
  for (std::size_t value = 0; value < normalized_.size(); ++value) {
    normalized_[value] =
        static_cast<float>((static_cast<double>(value) / kWhite - mean_) / standard_deviation_);
  }
}

void IdxImages::take_first(const IdxImagesOptions& options) {
  const std::int64_t count = options.num_train_images;
  if (count < 0 || count > train_.num_images) {
    throw ConfigError(fmt::format("--training-images is {}; {} has {}; expected as many at most",
                                  count, options.directory, train_.num_images));
  }
  if (count > 0) {
    train_.num_images = count;
    train_.pixels.resize(static_cast<std::size_t>(count * train_.height * train_.width));
    train_.labels.resize(static_cast<std::size_t>(count));
  }
}

void IdxImages::randomize_labels() {
  const auto num_classes = static_cast<std::uint64_t>(num_classes_);
  for (std::size_t image = 0; image < train_.labels.size(); ++image) {
    train_.labels[image] =
        static_cast<char>(keyed_hash(Purpose::ImageLabel, {seed_, image}) % num_classes);
  }
}

IdxImages::IdxImages(const IdxImagesOptions& options)
    : seed_(options.seed),
      augmentation_(options.augmentation),
      num_views_(options.num_views),
      has_random_labels_(options.has_random_labels),
      train_(read_set(options.directory, "train")),
      test_(read_set(options.directory, "t10k")),
      num_classes_(largest_label(train_.labels) + 1) {
  check_fit(options.directory);
  take_first(options);
  measure_pixels(options.directory);
  if (has_random_labels_) {
    randomize_labels();
  }
}

MicroBatch IdxImages::empty_batch(std::int64_t num_images) const {
  return {.inputs = {at::empty({num_views_ * num_images, 1, height(), width()}, at::kFloat)},
          .targets = at::empty({num_views_ * num_images}, at::kLong)};
}

void IdxImages::fill_pixels(const View& view, const GrayImage& image, float* row) const {
  const std::int64_t count = image.height * image.width;
  if (!augmentation_.is_any() || (view.part == Part::Test && num_views_ == 1)) {
    std::transform(image.pixels, image.pixels + count, row,
                   [this](char byte) { return normalized_[static_cast<unsigned char>(byte)]; });
    return;
  }
  const auto word = [](auto value) { return static_cast<std::uint64_t>(value); };
  augment(augmentation_,
          keyed_hash(Purpose::ImageView, {seed_, word(view.part), word(view.epoch),
                                          word(view.image), word(view.number)}),
          image, row);
  std::transform(row, row + count, row, [this](float level) {
    return static_cast<float>((level - mean_) / standard_deviation_);
  });
}

void IdxImages::fill(MicroBatch& batch, std::int64_t row, View view) const {
  const Set& set = view.part == Part::Training ? train_ : test_;
  const std::int64_t count = set.height * set.width;
  const GrayImage image{set.pixels.data() + view.image * count, set.height, set.width};
  const std::int64_t num_images = batch.targets.size(0) / num_views_;
  for (view.number = 0; view.number < num_views_; ++view.number, row += num_images) {
    fill_pixels(view, image, batch.inputs.front().mutable_data_ptr<float>() + row * count);
    batch.targets.mutable_data_ptr<std::int64_t>()[row] =
        label_of(set.labels[static_cast<std::size_t>(view.image)]);
  }
}

DataIdentity IdxImages::identity() const {
  DataIdentity identity{
      .num_bytes = static_cast<std::int64_t>(train_.pixels.size() + test_.pixels.size()),
      .num_training_bytes = static_cast<std::int64_t>(train_.pixels.size())};
  for (const std::string* part : {&train_.pixels, &train_.labels, &test_.pixels, &test_.labels}) {
    identity.crc32 = crc32_of(*part, identity.crc32);
  }
  return identity;
}

MicroBatch IdxImages::train_batch(std::int64_t position, std::int64_t num_images) const {
  HALFBACK_CHECK(position >= 0 && num_images >= 0,
                 fmt::format("position {}, {} images", position, num_images));
  MicroBatch batch = empty_batch(num_images);
  for (std::int64_t row = 0; row < num_images; ++row) {
    const std::int64_t epoch = (position + row) / train_.num_images;
    const KeyedPermutation order(
        train_.num_images,
        keyed_hash(Purpose::ImageOrder, {seed_, static_cast<std::uint64_t>(epoch)}));
    fill(batch, row, {Part::Training, order((position + row) % train_.num_images), epoch});
  }
  return batch;
}

MicroBatch IdxImages::validation_batch(std::int64_t index, std::int64_t num_images) const {
  const std::int64_t count = num_validation_samples();
  HALFBACK_CHECK(index >= 0 && num_images >= 0 && index <= count && num_images <= count - index,
                 fmt::format("images {} to {} of {}", index, index + num_images, count));
  MicroBatch batch = empty_batch(num_images);
  for (std::int64_t row = 0; row < num_images; ++row) {
    fill(batch, row,
         {.part = has_random_labels_ ? Part::Training : Part::Test, .image = index + row});
  }
  return batch;
}

}  // namespace halfback
