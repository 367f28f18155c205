// SPDX-License-Identifier: Apache-2.0
// Latencies in logarithmic bins of 1 %, from 1 ns to 10 s, and the exact maximum.
#pragma once

#include <algorithm>
#include <boost/histogram/axis/regular.hpp>
#include <boost/histogram/make_histogram.hpp>
#include <cstdint>
#include <vector>

namespace bench {

class histogram {
 public:
  static constexpr std::size_t bins = 2314;
  using counts = std::vector<std::uint64_t>;

  void add(double ns) {
    hist_(std::max(ns, 1.0));
    max_ = std::max(max_, ns);
  }
  // For shared memory: counts of the bins and of what lies beyond them.
  template <class Out>
  void store(Out* out) const {
    for (std::size_t i = 0; i < bins + 2; ++i) out[i] = hist_.at(static_cast<int>(i) - 1);
  }
  template <class In>
  void merge(const In* in, double max) {
    for (std::size_t i = 0; i < bins + 2; ++i) hist_.at(static_cast<int>(i) - 1) += in[i];
    max_ = std::max(max_, max);
  }
  double max() const { return max_; }
  std::uint64_t size() const {
    std::uint64_t n = 0;
    for (const auto count : hist_) n += count;
    return n;
  }
  // The upper bound of the bin in which the quantile lies.
  double quantile(double q) const {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < bins + 2; ++i) total += hist_.at(static_cast<int>(i) - 1);
    const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(total));
    std::uint64_t seen = 0;
    for (int i = -1; i < static_cast<int>(bins); ++i) {
      seen += hist_.at(i);
      if (seen > wanted) return std::min(i < 0 ? 1.0 : hist_.axis().bin(i).upper(), max_);
    }
    return max_;
  }

 private:
  using axis = boost::histogram::axis::regular<double, boost::histogram::axis::transform::log>;
  boost::histogram::histogram<std::tuple<axis>, boost::histogram::dense_storage<std::uint64_t>> hist_ =
      boost::histogram::make_histogram_with(boost::histogram::dense_storage<std::uint64_t>(), axis(bins, 1.0, 1e10));
  double max_ = 0;
};

} // namespace bench
