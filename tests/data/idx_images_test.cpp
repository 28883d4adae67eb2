#include "halfback/data/idx_images.h"

#include "halfback/base/error.h"
#include "halfback/data/gzip.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>
#include <zlib.h>

namespace halfback {
namespace {

using Bytes = std::string;

// A header of these sizes before the data.
Bytes idx(const std::vector<std::uint32_t>& shape, const Bytes& data) {
  Bytes file{'\0', '\0', '\x08', static_cast<char>(shape.size())};
  for (const std::uint32_t size : shape) {
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
      file += static_cast<char>(static_cast<unsigned char>(size >> shift));
    }
  }
  return file + data;
}

Bytes gzipped(const Bytes& bytes) {
  z_stream stream = {};
  EXPECT_EQ(::deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  Bytes copy = bytes;
  Bytes out(bytes.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(copy.data());
  stream.avail_in = static_cast<uInt>(copy.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

constexpr std::uint32_t kTrain = 10;
constexpr std::uint32_t kTest = 4;

// Image i has 2 x 3 pixels of value 10 i + place, and label i % 3.
Bytes pixels(std::uint32_t num_images) {
  Bytes data;
  for (std::uint32_t i = 0; i < num_images; ++i) {
    for (std::uint32_t place = 0; place < 6; ++place) {
      data += static_cast<char>(static_cast<unsigned char>(10 * i + place));
    }
  }
  return data;
}

Bytes labels(std::uint32_t num_images) {
  Bytes data;
  for (std::uint32_t i = 0; i < num_images; ++i) {
    data += static_cast<char>(i % 3);
  }
  return data;
}

class IdxImagesTest : public testing::Test {
 protected:
  IdxImagesTest() {
    write("train-images-idx3-ubyte", idx({kTrain, 2, 3}, pixels(kTrain)));
    write("train-labels-idx1-ubyte.gz", gzipped(idx({kTrain}, labels(kTrain))));
    write("t10k-images-idx3-ubyte.gz", gzipped(idx({kTest, 2, 3}, pixels(kTest))));
    write("t10k-labels-idx1-ubyte", idx({kTest}, labels(kTest)));
  }

  void write(const std::string& name, const Bytes& bytes) { spit(directory_ / name, bytes); }

  IdxImages read(std::uint64_t seed = 1, bool has_random_labels = false) const {
    return IdxImages({.directory = directory_.path().string(),
                      .seed = seed,
                      .has_random_labels = has_random_labels});
  }

  IdxImages first(std::int64_t count) const {
    return IdxImages({.directory = directory_.path().string(),
                      .has_random_labels = true,
                      .num_train_images = count});
  }

  std::string refusal() const {
    return text_of_thrown<FileError>([this] { read(); });
  }

  TemporaryDirectory directory_;
};

// Which image each row is.
std::vector<std::int64_t> images_of(const IdxImages& data, const MicroBatch& batch) {
  std::vector<std::int64_t> images;
  for (std::int64_t row = 0; row < batch.inputs.front().size(0); ++row) {
    const double level =
        batch.inputs.front()[row][0][0][0].item<double>() * data.standard_deviation() + data.mean();
    images.push_back(std::lround(level * 255.0 / 10.0));
  }
  return images;
}

TEST_F(IdxImagesTest, ReadsSizesPlainAndCompressed) {
  const IdxImages data = read();
  EXPECT_EQ(data.num_train_samples(), kTrain);
  EXPECT_EQ(data.num_validation_samples(), kTest);
  EXPECT_EQ(data.height(), 2);
  EXPECT_EQ(data.width(), 3);
  EXPECT_EQ(data.num_classes(), 3);
  const MicroBatch batch = data.train_batch(0, 7);
  EXPECT_EQ(batch.inputs.front().sizes(), (at::IntArrayRef{7, 1, 2, 3}));
  EXPECT_EQ(batch.inputs.front().scalar_type(), at::kFloat);
  EXPECT_EQ(batch.targets.sizes(), at::IntArrayRef{7});
  EXPECT_EQ(batch.targets.scalar_type(), at::kLong);
}

TEST_F(IdxImagesTest, NormalizesByTheTrainingSet) {
  const IdxImages data = read();
  const at::Tensor train = data.train_batch(0, kTrain).inputs.front().to(at::kDouble);
  EXPECT_NEAR(train.mean().item<double>(), 0.0, 1e-6);
  EXPECT_NEAR(train.std(/*unbiased=*/false).item<double>(), 1.0, 1e-6);
  const double first = data.validation_batch(0, 1).inputs.front()[0][0][1][2].item<double>();
  EXPECT_NEAR(first, (5.0 / 255.0 - data.mean()) / data.standard_deviation(), 1e-6);
}

TEST_F(IdxImagesTest, VisitsEachImageOnceAnEpochInAnOrderOfItsOwn) {
  const IdxImages data = read();
  std::set<std::vector<std::int64_t>> orders;
  for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
    const MicroBatch batch = data.train_batch(epoch * kTrain, kTrain);
    const std::vector<std::int64_t> images = images_of(data, batch);
    EXPECT_EQ(std::set<std::int64_t>(images.begin(), images.end()).size(), kTrain);
    for (std::size_t row = 0; row < images.size(); ++row) {
      EXPECT_EQ(batch.targets[static_cast<std::int64_t>(row)].item<std::int64_t>(),
                images[row] % 3);
    }
    orders.insert(images);
  }
  EXPECT_EQ(orders.size(), 5U);
  EXPECT_NE(images_of(data, data.train_batch(0, kTrain)),
            images_of(data, read(2).train_batch(0, kTrain)));
}

TEST_F(IdxImagesTest, ABatchIsItsMicroBatchesOneAfterTheOther) {
  const IdxImages data = read();
  const MicroBatch whole = data.train_batch(6, 12);  // into the next epoch
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> targets;
  for (std::int64_t done = 0; done < 12; done += 4) {
    const MicroBatch part = data.train_batch(6 + done, 4);
    inputs.push_back(part.inputs.front());
    targets.push_back(part.targets);
  }
  EXPECT_TRUE(at::cat(inputs).equal(whole.inputs.front()));
  EXPECT_TRUE(at::cat(targets).equal(whole.targets));
}

TEST_F(IdxImagesTest, TestImagesComeInFileOrder) {
  const IdxImages data = read();
  EXPECT_EQ(images_of(data, data.validation_batch(1, 3)), (std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(data.validation_batch(2, 1).targets[0].item<std::int64_t>(), 2);
  EXPECT_EQ(data.validation_batch(4, 0).inputs.front().size(0), 0);
  EXPECT_THROW(data.validation_batch(2, 3), std::logic_error);
  EXPECT_THROW(data.train_batch(-1, 3), std::logic_error);
}

TEST_F(IdxImagesTest, RandomLabelsStayWithTheirImages) {
  const IdxImages data = read(1, true);
  const auto by_image = [](const IdxImages& from, std::int64_t epoch) {
    const MicroBatch batch = from.train_batch(epoch * kTrain, kTrain);
    const std::vector<std::int64_t> images = images_of(from, batch);
    std::vector<std::int64_t> found(kTrain);
    for (std::size_t row = 0; row < images.size(); ++row) {
      found[static_cast<std::size_t>(images[row])] =
          batch.targets[static_cast<std::int64_t>(row)].item<std::int64_t>();
    }
    return found;
  };
  EXPECT_EQ(by_image(data, 0), by_image(data, 3));
  EXPECT_NE(by_image(data, 0), by_image(read(), 0));
  EXPECT_NE(by_image(data, 0), by_image(read(2, true), 0));
  EXPECT_LT(data.train_batch(0, kTrain).targets.max().item<std::int64_t>(), 3);
  // Validations are of the same images, in their order.
  ASSERT_EQ(data.num_validation_samples(), kTrain);
  const MicroBatch validation = data.validation_batch(0, kTrain);
  std::vector<std::int64_t> labels(kTrain);
  for (std::int64_t image = 0; image < kTrain; ++image) {
    EXPECT_EQ(images_of(data, validation)[static_cast<std::size_t>(image)], image);
    labels[static_cast<std::size_t>(image)] = validation.targets[image].item<std::int64_t>();
  }
  EXPECT_EQ(labels, by_image(data, 0));
}

TEST_F(IdxImagesTest, TakesTheFirstTrainingImages) {
  const IdxImages data = first(3);
  EXPECT_EQ(data.num_train_samples(), 3);
  EXPECT_EQ(data.num_validation_samples(), 3);
  std::vector<std::int64_t> images = images_of(data, data.train_batch(0, 3));
  std::sort(images.begin(), images.end());
  EXPECT_EQ(images, (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(data.num_classes(), 3) << "of all images";
  EXPECT_NE(data.identity(), first(0).identity());
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { first(kTrain + 1); }),
                       "expected as many at most"));
}

// Row `image` of a batch of `num_images` in view `number`.
at::Tensor view_of(const MicroBatch& batch, std::int64_t image, std::int64_t number) {
  return batch.inputs.front()[number * batch.targets.size(0) / 2 + image];
}

TEST_F(IdxImagesTest, TwoViewsDependOnTheEpochTheImageAndTheViewAlone) {
  const IdxImages data({.directory = directory_.path().string(),
                        .seed = 1,
                        .augmentation = {.crops = true, .jitters = true},
                        .num_views = 2});
  const MicroBatch whole = data.train_batch(6, 12);  // into the next epoch
  EXPECT_EQ(whole.inputs.front().sizes(), (at::IntArrayRef{24, 1, 2, 3}));
  EXPECT_TRUE(whole.targets.equal(
      at::cat({whole.targets.narrow(0, 0, 12), whole.targets.narrow(0, 0, 12)})));
  EXPECT_TRUE(whole.targets.narrow(0, 0, 12).equal(read().train_batch(6, 12).targets));
  for (const std::int64_t size : {1, 3, 4}) {
    for (std::int64_t done = 0; done < 12; done += size) {
      const MicroBatch part = data.train_batch(6 + done, size);
      for (std::int64_t image = 0; image < size; ++image) {
        for (const std::int64_t number : {0, 1}) {
          EXPECT_TRUE(view_of(part, image, number).equal(view_of(whole, done + image, number)));
        }
      }
    }
  }
  for (std::int64_t image = 0; image < 12; ++image) {
    EXPECT_FALSE(view_of(whole, image, 0).equal(view_of(whole, image, 1)));
  }
  const MicroBatch test = data.validation_batch(1, 3);
  EXPECT_EQ(test.targets.sizes(), at::IntArrayRef{6});
  EXPECT_TRUE(view_of(test, 1, 1).equal(view_of(data.validation_batch(2, 2), 0, 1)));
  EXPECT_FALSE(view_of(test, 1, 0).equal(view_of(test, 1, 1)));
}

// The same image comes again in the next epoch, and not the same view.
TEST_F(IdxImagesTest, AugmentsTrainingImagesAgainInEachEpochAndNoTestImage) {
  const IdxImages plain = read();
  const IdxImages data(
      {.directory = directory_.path().string(), .seed = 1, .augmentation = {.jitters = true}});
  std::set<std::vector<float>> views;
  for (std::int64_t epoch = 0; epoch < 8; ++epoch) {
    const std::vector<std::int64_t> images =
        images_of(plain, plain.train_batch(epoch * kTrain, kTrain));
    const auto row = std::find(images.begin(), images.end(), 7) - images.begin();
    const at::Tensor view = data.train_batch(epoch * kTrain + row, 1).inputs.front();
    views.emplace(view.const_data_ptr<float>(), view.const_data_ptr<float>() + view.numel());
  }
  EXPECT_GT(views.size(), 4U) << "some are left as they are";
  EXPECT_TRUE(data.validation_batch(0, kTest).inputs.front().equal(
      plain.validation_batch(0, kTest).inputs.front()));
}

TEST_F(IdxImagesTest, SaysWhichFileIsMissing) {
  std::filesystem::remove(directory_ / "t10k-labels-idx1-ubyte");
  const std::string text = refusal();
  EXPECT_TRUE(text.starts_with(directory_.path().string() +
                               ": has neither t10k-labels-idx1-ubyte nor "
                               "t10k-labels-idx1-ubyte.gz; expected"))
      << text;
  EXPECT_TRUE(contains(text, "install Debian's dataset-fashion-mnist"));
  EXPECT_THROW(IdxImages({.directory = "/nowhere"}), FileError);
}

TEST_F(IdxImagesTest, RefusesDamagedFiles) {
  const Bytes good = gzipped(idx({kTrain}, labels(kTrain)));
  const std::string name = "train-labels-idx1-ubyte.gz";
  write(name, good.substr(0, good.size() - 9));
  EXPECT_TRUE(contains(refusal(), name + ": its compressed bytes are cut off"));
  Bytes damaged = good;
  damaged[good.size() - 6] = static_cast<char>(damaged[good.size() - 6] ^ 1);
  write(name, damaged);
  EXPECT_TRUE(contains(refusal(), name + ": its compressed bytes are damaged"));
  write(name, good + "rubbish");
  EXPECT_TRUE(contains(refusal(), "damaged"));
  write(name, gzipped("no IDX"));
  EXPECT_TRUE(contains(refusal(), "expected an IDX file"));
  write(name, idx({kTrain}, labels(kTrain - 1)));
  EXPECT_TRUE(contains(refusal(), "9 bytes of data where its sizes say 10"));
}

TEST_F(IdxImagesTest, RefusesFilesThatDoNotBelongTogether) {
  write("train-labels-idx1-ubyte", idx({kTrain - 1}, labels(kTrain - 1)));
  EXPECT_TRUE(contains(
      refusal(),
      "has 10 images and train-labels-idx1-ubyte 9 labels; expected as many; use files that"));
  write("train-labels-idx1-ubyte", idx({5, 2}, labels(kTrain)));
  EXPECT_TRUE(contains(refusal(), "has 2 dimensions; expected 1 (labels)"));
  write("train-labels-idx1-ubyte", idx({kTrain}, Bytes(kTrain, '\1')));
  EXPECT_TRUE(contains(refusal(), "a test label is 2 and the largest training label 1"));
  write("train-labels-idx1-ubyte", idx({kTrain}, labels(kTrain)));
  write("t10k-images-idx3-ubyte", idx({kTest, 3, 2}, pixels(kTest)));
  EXPECT_TRUE(contains(refusal(), "have 2 x 3 pixels and test images 3 x 2"));
  write("t10k-images-idx3-ubyte", idx({0, 2, 3}, ""));
  EXPECT_TRUE(contains(refusal(), "is empty; expected at least one image; fetch the file again"));
}

TEST_F(IdxImagesTest, RefusesImagesOfOneColor) {
  write("train-images-idx3-ubyte", idx({kTrain, 2, 3}, Bytes(6 * kTrain, '\7')));
  EXPECT_TRUE(contains(refusal(), "all pixels of its training images are 7"));
}

TEST(GunzipTest, ReadsSeveralMembersAndAnyLength) {
  for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 300000U}) {
    const Bytes text(size, 'x');
    EXPECT_EQ(gunzip(gzipped(text), size, "file"), text);
    EXPECT_EQ(gunzip(gzipped(text) + gzipped("end"), size + 3, "file"), text + "end");
  }
}

TEST(GunzipTest, StopsAtItsLimit) {
  const std::string text =
      text_of_thrown<FileError>([] { gunzip(gzipped(Bytes(1 << 20, 'x')), 1000, "file"); });
  EXPECT_TRUE(contains(text, "file: holds more than 1000 bytes once decompressed")) << text;
}

}  // namespace
}  // namespace halfback
