// Labelled gray images in the IDX format of MNIST and Fashion-MNIST (Debian's package
// dataset-fashion-mnist; Xiao, Rasul, Vollgraf, arXiv:1708.07747): a training and a test set.
//
// Pixels are normalized: (value - mean) / standard deviation, both over the training set. Each
// epoch visits every training image once, in an order that depends only on (seed, epoch). So a
// batch depends only on (seed, position), not on ranks, stages or micro-batches. An augmented view
// depends only on (seed, epoch, image, view).
//
// N images, H x W pixels.
#pragma once

#include "halfback/data/augmentation.h"
#include "halfback/data/dataset.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace halfback {

struct IdxImagesOptions {
  // Contains train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
  // t10k-labels-idx1-ubyte, each with or without .gz.
  std::string directory;
  std::uint64_t seed = 0;
  // Gives every training image a label drawn by (seed, image), which a model can only memorize:
  // Zhang et al., "Understanding deep learning requires rethinking generalization",
  // arXiv:1611.03530. Validation samples are then the training images: how many it has memorized.
  bool has_random_labels = false;
  std::int64_t num_train_images = 0;  // the first of the training set; 0: all
  Augmentation augmentation = {};     // of training images
  // With 2, an image is two augmented views, also of the test set, and a batch of N images has 2N
  // rows: the first views of all, then the second views.
  std::int64_t num_views = 1;
};

// Thread-safe after construction. Holds the images as bytes.
class IdxImages final : public Dataset {
 public:
  // Throws FileError for a file that is missing, cannot be read or is not an IDX file, for
  // different numbers of images and labels, and for sets that do not fit each other; ConfigError
  // for more training images than there are.
  explicit IdxImages(const IdxImagesOptions& options);

  std::int64_t num_train_samples() const override { return train_.num_images; }
  std::int64_t num_validation_samples() const override { return validation_set().num_images; }
  DataIdentity identity() const override;
  std::int64_t height() const { return train_.height; }
  std::int64_t width() const { return train_.width; }
  std::int64_t num_classes() const { return num_classes_; }  // largest training label + 1

  // Mean and standard deviation of the training pixels, where black is 0 and white 1.
  double mean() const { return mean_; }
  double standard_deviation() const { return standard_deviation_; }

  // Inputs [N, 1, H, W] float32, targets [N], labels from 0. A batch may span two epochs. With two
  // views, 2N in place of N.
  MicroBatch train_batch(std::int64_t position, std::int64_t num_images) const override;
  // Samples of the test images, or of the training images if their labels are random.
  MicroBatch validation_batch(std::int64_t index, std::int64_t num_images) const override;

 private:
  struct Set {
    std::string pixels;  // [num_images, height, width]
    std::string labels;
    std::int64_t num_images = 0;
    std::int64_t height = 0;
    std::int64_t width = 0;
  };
  static Set read_set(const std::filesystem::path& directory, const std::string& prefix);
  void check_fit(const std::filesystem::path& directory) const;
  void measure_pixels(const std::filesystem::path& directory);
  void take_first(const IdxImagesOptions& options);
  void randomize_labels();
  const Set& validation_set() const { return has_random_labels_ ? train_ : test_; }
  enum class Part : std::uint64_t { Training, Test };
  // An image, the epoch in which it comes, and which of its views.
  struct View {
    Part part = Part::Training;
    std::int64_t image = 0;
    std::int64_t epoch = 0;
    std::int64_t number = 0;
  };
  MicroBatch empty_batch(std::int64_t num_images) const;
  // Fills the rows of one image.
  void fill(MicroBatch& batch, std::int64_t row, View view) const;
  void fill_pixels(const View& view, const GrayImage& image, float* row) const;

  std::uint64_t seed_;
  Augmentation augmentation_;
  std::int64_t num_views_;
  bool has_random_labels_;
  Set train_;
  Set test_;
  std::int64_t num_classes_ = 0;
  double mean_ = 0.0;
  double standard_deviation_ = 0.0;
  std::array<float, 256> normalized_ = {};  // by pixel value
};

}  // namespace halfback
