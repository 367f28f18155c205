// SPDX-License-Identifier: Apache-2.0
#include "crew.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <numeric>
#include <system_error>
#include <utility>

namespace demo {

namespace {

volatile std::sig_atomic_t signalled = 0;

void take_in(crew& all, member& m, const message& news) {
  m.last = std::max(m.last, news.when);
  const bool wrote = news.what == kind::hits || news.what == kind::edits;
  if (wrote && all.watch_from && news.when >= *all.watch_from && !m.counts_again) m.counts_again = news.when;
  switch (news.what) {
    case kind::ready:
      m.ready = news.when;
      break;
    case kind::holding:
      m.holding = news.when;
      break;
    case kind::hits:
      m.hits.at(news.domain) += news.count;
      break;
    case kind::checked:
      m.checked += news.count;
      break;
    case kind::edits:
      m.edits += news.count;
      break;
    case kind::mistake:
    case kind::half:
    case kind::failed:
      all.complaints.push_back(fmt::format("{}: {}", m.program.name(), news.text));
      break;
  }
}

} // namespace

std::uint64_t member::lookups() const { return std::accumulate(hits.begin(), hits.end(), std::uint64_t{0}); }

double member::seconds() const {
  return ready && last > *ready ? std::chrono::duration<double>(last - *ready).count() : 0;
}

void crew::clear() noexcept {
  for (member& m : members) m.program.hang_up(); // all of them: some may wait for others
  members.clear();
}

std::uint64_t crew::lookups() const {
  std::uint64_t sum = 0;
  for (const member& m : members) sum += m.lookups();
  return sum;
}

std::uint64_t crew::edits() const {
  std::uint64_t sum = 0;
  for (const member& m : members) sum += m.edits;
  return sum;
}

void crew::start(std::string name, const std::vector<std::string>& arguments) {
  members.push_back({child(std::move(name), arguments)});
}

void crew::listen(std::chrono::milliseconds patience) {
  std::vector<pollfd> fds;
  for (const member& m : members) fds.push_back({m.program.messages_fd(), POLLIN, 0});
  if (poll(fds.data(), fds.size(), static_cast<int>(patience.count())) < 0 && errno != EINTR)
    throw std::system_error(errno, std::generic_category(), "poll");
  if (signalled != 0) throw interrupted{};

  std::vector<message> news;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (fds[i].revents == 0) continue;
    news.clear();
    members[i].program.receive(news);
    for (const message& one : news) take_in(*this, members[i], one);
  }
}

void crew::dismiss() {
  for (member& m : members) m.program.stop();
  const auto open = [](const member& m) { return m.program.messages_fd() >= 0; };
  for (const auto until = clock::now() + std::chrono::seconds(20);
       clock::now() < until && std::any_of(members.begin(), members.end(), open);)
    listen(std::chrono::milliseconds(100));
  for (member& m : members) m.status = m.program.wait(std::chrono::seconds(5));
}

void catch_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { signalled = 1; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

} // namespace demo
