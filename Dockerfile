# docker build -t odradek .
# docker run --security-opt seccomp=systemd/seccomp.json --ulimit memlock=-1 --ulimit nofile=1048576 --network host -v odradek:/var/lib/odradek odradek
# Docker's own seccomp profile forbids io_uring: without the one given here the broker says so and ends. See systemd/README.md.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked && strip --strip-debug target/release/odradek

FROM debian:bookworm-slim
RUN useradd --system --home-dir /var/lib/odradek --shell /usr/sbin/nologin odradek \
    && install -d -o odradek -g odradek -m 0750 /var/lib/odradek
COPY --from=build /src/target/release/odradek /usr/bin/odradek
COPY systemd/server.properties /etc/odradek/server.properties
USER odradek
WORKDIR /var/lib/odradek
VOLUME /var/lib/odradek
EXPOSE 9092 19092-19192
# SIGTERM, which docker stop sends, finishes what is in flight and flushes: give it time with --stop-timeout 60.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/odradek"]
CMD ["serve", "--config", "/etc/odradek/server.properties", "--override", "odradek.direct.io=auto"]
