// One client of the server that never waits for it, and the loop that attends
// to many of them.
//
// What happens to a client comes as a call: it is connected, its message is
// answered, the server says something in between, the connection is lost, the
// moment has come that it waited for.
#pragma once

#include "clock.h"

#include <libpq-fe.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unblock::stress {

// What has come back for one message.
struct Answer {
	std::vector<std::pair<std::string, std::string>>
	    columns;                   // name and value, of the first row of each result
	std::vector<std::string> tags; // of commands that are done
	std::string sqlstate;          // of the error, if any
	std::string error;

	// Dies if there is no such column.
	const std::string& text(std::string_view column) const;
	Micros moment(std::string_view column) const;
	bool has(std::string_view column) const;
	bool has_tag(std::string_view tag) const;
};

// Microseconds since 1970 on the server's clock, in SQL.
inline constexpr const char* kServerClock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

class Client {
public:
	Client() = default;
	Client(const Client&) = delete;
	Client& operator=(const Client&) = delete;
	virtual ~Client();

	bool is_open() const { return connection_ != nullptr; }
	bool is_busy() const { return busy_ || connecting_; }

protected:
	void open(const std::string& role);
	void close();
	// One message; only when the last one is answered.
	void send(const std::string& statements);
	// When timed() is to be called. kNever: not.
	void wait_until(Micros moment) { due_ = moment; }
	int pid() const { return pid_; }
	Micros sent_at() const { return sent_at_; }

	virtual void opened() = 0;
	virtual void answered(const Answer& answer) = 0;
	virtual void told(const std::string&) {} // the first line of a notice
	virtual void timed() = 0;
	// `seen`: when the first word of it, or else its fact, was noticed. `answer`: what had come before. The
	// connection is closed when this is called.
	virtual void lost(const Answer& answer, Micros seen, const std::string& why) = 0;

private:
	friend void attend(std::span<Client* const> clients, const std::function<bool()>& done);
	static void receive_notice(void* client, const PGresult* notice);
	void look();
	void go_on_connecting();
	void take_results(bool alive);
	void take(PGresult* result);
	void last_word(const PGresult* message);
	void lose();

	PGconn* connection_ = nullptr;
	bool connecting_ = false;
	bool busy_ = false;
	short wants_ = 0; // events of poll()
	Micros due_ = kNever;
	Micros sent_at_ = 0;
	int pid_ = 0;
	Answer answer_;
	Micros end_seen_ = 0; // when the server said that this is the end
	std::string end_;
};

// Attends to all until `done`. Dies when an answer has not come within kPatience.
void attend(std::span<Client* const> clients, const std::function<bool()>& done);

inline constexpr Micros kPatience = 120 * kSecond;

// A superuser's statements, waited for. Returns the first column. Dies on an error.
std::vector<std::string> ask(const std::string& statements);

} // namespace unblock::stress
