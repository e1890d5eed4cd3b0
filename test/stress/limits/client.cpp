// Asynchronous libpq.

#include "client.h"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace unblock::stress {

namespace {

std::string first_line(const char* text) {
	return std::string(text, std::strcspn(text, "\n"));
}

std::string field(const PGresult* result, int code) {
	const char* text = PQresultErrorField(result, code);
	return text == nullptr ? "" : text;
}

} // namespace

bool Answer::has(std::string_view column) const {
	return std::ranges::any_of(columns, [&](const auto& pair) { return pair.first == column; });
}

bool Answer::has_tag(std::string_view tag) const {
	return std::ranges::find(tags, tag) != tags.end();
}

const std::string& Answer::text(std::string_view column) const {
	for (const auto& [name, value] : columns)
		if (name == column)
			return value;
	throw std::runtime_error("no column " + std::string(column) + " in an answer" +
	                         (error.empty() ? "" : ", but: " + error));
}

Micros Answer::moment(std::string_view column) const {
	return std::stoll(text(column));
}

Client::~Client() {
	close();
}

void Client::open(const std::string& role) {
	connection_ = PQconnectStart(("user=" + role + " dbname=postgres application_name=stress").c_str());
	if (connection_ == nullptr || PQstatus(connection_) == CONNECTION_BAD)
		throw std::runtime_error("could not connect as " + role + ": " +
		                         first_line(PQerrorMessage(connection_)));
	PQsetNoticeReceiver(connection_, receive_notice, this);
	connecting_ = true;
	wants_ = POLLOUT;
	sent_at_ = now();
}

void Client::close() {
	PQfinish(connection_);
	connection_ = nullptr;
	connecting_ = busy_ = false;
	answer_ = {};
	end_seen_ = 0;
	end_.clear();
}

void Client::send(const std::string& statements) {
	answer_ = {};
	busy_ = true;
	sent_at_ = now();
	// If the connection is lost, look() will find out.
	if (PQsendQuery(connection_, statements.c_str()) == 0 && PQstatus(connection_) == CONNECTION_OK)
		throw std::runtime_error("could not send: " + first_line(PQerrorMessage(connection_)));
}

// Whatever is said outside of an answer: notices, and the last word to a session that does nothing.
void Client::receive_notice(void* client, const PGresult* notice) {
	auto* self = static_cast<Client*>(client);
	const std::string severity = field(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	if (severity == "FATAL" || severity == "PANIC")
		self->last_word(notice);
	else
		self->told(field(notice, PG_DIAG_MESSAGE_PRIMARY));
}

void Client::last_word(const PGresult* message) {
	if (end_seen_ != 0)
		return;
	end_seen_ = now();
	end_ = field(message, PG_DIAG_SQLSTATE) + ": " + field(message, PG_DIAG_MESSAGE_PRIMARY);
}

void Client::look() {
	if (connecting_) {
		go_on_connecting();
		return;
	}
	const bool alive = PQconsumeInput(connection_) == 1 && PQstatus(connection_) == CONNECTION_OK;
	take_results(alive);
	// The process may need some time to leave after its last word.
	if (!alive || end_seen_ != 0)
		lose();
}

void Client::go_on_connecting() {
	switch (PQconnectPoll(connection_)) {
	case PGRES_POLLING_READING:
		wants_ = POLLIN;
		break;
	case PGRES_POLLING_WRITING:
		wants_ = POLLOUT;
		break;
	case PGRES_POLLING_OK:
		connecting_ = false;
		wants_ = POLLIN;
		PQsetnonblocking(connection_, 1);
		pid_ = PQbackendPID(connection_);
		opened();
		break;
	default:
		throw std::runtime_error("could not connect: " + first_line(PQerrorMessage(connection_)));
	}
}

void Client::take_results(bool alive) {
	// PQisBusy() reads notices too. A lost connection's results are all there.
	bool complete = false;
	while (!complete && (!PQisBusy(connection_) || !alive)) {
		PGresult* result = PQgetResult(connection_);
		complete = result == nullptr;
		if (!complete)
			take(result);
		PQclear(result);
	}
	if (!busy_ || !complete || !alive)
		return;
	busy_ = false;
	const Answer answer = std::move(answer_);
	answered(answer);
}

void Client::take(PGresult* result) {
	switch (PQresultStatus(result)) {
	case PGRES_TUPLES_OK:
		if (PQntuples(result) > 0)
			for (int column = 0; column < PQnfields(result); ++column)
				answer_.columns.emplace_back(PQfname(result, column), PQgetvalue(result, 0, column));
		[[fallthrough]];
	case PGRES_COMMAND_OK:
		answer_.tags.emplace_back(PQcmdStatus(result));
		return;
	default:
		if (const std::string severity = field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
		    severity == "FATAL" || severity == "PANIC")
			last_word(result);
		if (answer_.error.empty()) {
			answer_.sqlstate = field(result, PG_DIAG_SQLSTATE);
			answer_.error = first_line(PQresultErrorMessage(result));
		}
	}
}

void Client::lose() {
	const Answer answer = std::move(answer_);
	const Micros seen = end_seen_ != 0 ? end_seen_ : now();
	const std::string why = end_seen_ != 0 ? end_ : first_line(PQerrorMessage(connection_));
	close();
	due_ = kNever;
	lost(answer, seen, why);
}

void attend(std::span<Client* const> clients, const std::function<bool()>& done) {
	std::vector<pollfd> polled(clients.size());
	while (!done()) {
		Micros next = now() + kSecond;
		for (std::size_t i = 0; i < clients.size(); ++i) {
			Client& client = *clients[i];
			if (client.due_ <= now()) {
				client.due_ = kNever;
				client.timed();
			}
			if (client.is_busy() && now() - client.sent_at_ > kPatience)
				throw std::runtime_error("no answer within two minutes, pid " + std::to_string(client.pid_));
			next = std::min(next, client.due_);
			polled[i] = {client.is_open() ? PQsocket(client.connection_) : -1, client.wants_, 0};
			if (client.is_open() && polled[i].fd < 0) // libpq has closed it while sending
				next = 0;
		}
		const Micros length = std::max<Micros>(next - now(), 0);
		const timespec timeout = {length / kSecond, length % kSecond * 1000};
		if (ppoll(polled.data(), polled.size(), &timeout, nullptr) < 0 && errno != EINTR)
			throw std::runtime_error(std::string("ppoll: ") + std::strerror(errno));
		for (std::size_t i = 0; i < clients.size(); ++i)
			if (clients[i]->is_open() && (polled[i].revents != 0 || polled[i].fd < 0))
				clients[i]->look();
	}
}

std::vector<std::string> ask(const std::string& statements) {
	PGconn* connection = PQconnectdb("user=postgres dbname=postgres");
	PGresult* result = PQexec(connection, statements.c_str());
	const bool good = PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
	const std::string error = good ? "" : first_line(PQerrorMessage(connection));
	std::vector<std::string> values;
	for (int row = 0; row < PQntuples(result); ++row)
		values.emplace_back(PQgetvalue(result, row, 0));
	PQclear(result);
	PQfinish(connection);
	if (!good)
		throw std::runtime_error(error);
	return values;
}

} // namespace unblock::stress
