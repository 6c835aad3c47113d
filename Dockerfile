# Debian 12 with what Spork is built and tested with, on linux/amd64 and linux/arm64. tools/setup knows what that is;
# `tools/matrix --only container bookworm` runs these steps without an engine.
FROM debian:12
RUN apt-get update && apt-get install -y --no-install-recommends git make sudo ca-certificates
COPY tools/setup /opt/spork/tools/setup
RUN apt-get update && /opt/spork/tools/setup run test gdb libc explore web
RUN useradd --create-home --shell /bin/bash student
RUN echo 'student ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/student
USER student
