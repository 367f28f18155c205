// SPDX-License-Identifier: Apache-2.0
#include "worker.hpp"

#include <httplib.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <optional>
#include <thread>

namespace prefork {
namespace {

constexpr std::size_t threads = 32; // as many connections as a worker serves at a time

std::string session_id(const httplib::Request& request) {
  const auto cookies = request.get_header_value("Cookie");
  const auto at = cookies.find("session=");
  return at == std::string::npos ? "" : cookies.substr(at + 8, cookies.find(';', at) - at - 8);
}

void answer(httplib::Response& response, int status, const std::string& text) {
  response.status = status;
  response.set_content(text + "\n", "text/plain");
}

void home(state& s, const httplib::Request& request, httplib::Response& response) {
  // Read, counted and stored in one step, whoever else serves the same session now.
  const auto found = s.sessions[session_id(request)].update([](std::optional<session> known) {
    if (known) known->last_used = now(), ++known->visits;
    return known;
  });
  if (!found) return answer(response, 401, "log in first");
  answer(response, 200, found->user + " " + std::to_string(found->visits));
}

void login(state& s, const httplib::Request& request, httplib::Response& response) {
  constexpr auto letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  if (request.body.empty() || request.body.size() > 100 || request.body.find_first_not_of(letters) != std::string::npos)
    return answer(response, 400, "who are you? 1 to 100 letters, digits, '.', '_' or '-'");
  response.set_header("X-User", request.body);
  response.set_header("Set-Cookie", "session=" + log_in(s, request.body) + "; HttpOnly; SameSite=Lax");
  answer(response, 200, request.body);
}

void metrics(const state& s, httplib::Response& response) {
  std::string text;
  const auto all = s.counters.to_map(); // of one moment
  for (const auto& [name, value] : std::map<std::string, std::uint64_t>(all.begin(), all.end()))
    text += name + " " + std::to_string(value) + "\n";
  response.set_content(text, "text/plain; version=0.0.4");
}

} // namespace

int serve(state& s, std::uint32_t number, int port) {
  httplib::Server http;
  http.new_task_queue = [] { return new httplib::ThreadPool(threads); };
  http.set_keep_alive_max_count(10'000).set_keep_alive_timeout(1).set_tcp_nodelay(true);
  http.set_socket_options([](socket_t socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on); // the kernel spreads connections over the workers
  });

  http.set_pre_routing_handler([&](const httplib::Request& request, httplib::Response& response) {
    const auto client = request.has_header("X-Client") ? request.get_header_value("X-Client") : request.remote_addr;
    if (request.path == "/metrics" || allow(s, client)) return httplib::Server::HandlerResponse::Unhandled;
    response.set_header("Retry-After", "1");
    answer(response, 429, "too many requests");
    return httplib::Server::HandlerResponse::Handled;
  });
  http.set_post_routing_handler([&](const httplib::Request& request, httplib::Response& response) {
    if (request.path != "/metrics") count(s, number, response.status); // before the answer leaves
  });
  http.set_exception_handler([](const httplib::Request&, httplib::Response& response, const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const shm::no_space& full) { // the only one to be expected: shared memory is full
      answer(response, 503, full.what());
    } catch (const std::exception& other) {
      answer(response, 500, other.what());
    }
  });
  http.Post("/login", [&](const auto& request, auto& response) { login(s, request, response); });
  http.Get("/", [&](const auto& request, auto& response) { home(s, request, response); });
  http.Get("/about", [](const auto&, auto& response) { answer(response, 200, "four processes, one state"); });
  http.Get("/metrics", [&](const auto&, auto& response) { metrics(s, response); });

  if (!http.bind_to_port("127.0.0.1", port)) {
    std::fprintf(stderr, "worker %u: cannot bind to port %d\n", number, port);
    return 1;
  }
  std::thread stopper([&http] {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    int signal = 0;
    sigwait(&stop, &signal);
    http.stop();
  });
  const bool served = http.listen_after_bind();
  raise(SIGTERM); // wakes the stopper, however listening ended
  stopper.join();
  return served ? 0 : 1;
}

} // namespace prefork
