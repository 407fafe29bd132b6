"""Apache Kafka's published jars, fetched once with Maven and kept."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .servers import ServerUnavailableError, cache_folder, locked

KAFKA_VERSION = "4.4.0"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidegate</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version>
      <exclusions>
        <exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-log4j12</artifactId></exclusion>
        <exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def java_command() -> str:
    """The `java` of JAVA_HOME, or else the one on the PATH.

    Raises:
        ServerUnavailableError: there is none, or it is older than Java 17.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        raise ServerUnavailableError("Kafka needs Java: install a JRE of version 17 or newer, or set JAVA_HOME")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', told.stderr)
    if version is None or int(version[1]) < 17:
        raise ServerUnavailableError(
            f"Kafka needs Java 17 or newer, {java} is {version[1] if version else 'of an unknown version'}: "
            "set JAVA_HOME to a newer one"
        )
    return java


def kafka_jars(version: str = KAFKA_VERSION) -> Path:
    """The folder with the jars of Kafka and all that it needs; fetched at the first call, then kept.

    The cache is `tidegate/kafka/<version>` in XDG_CACHE_HOME or `~/.cache`. Of several processes that ask at once, one
    fetches and the others wait for it. A folder that is there is whole.

    Raises:
        ServerUnavailableError: the jars are not in the cache, and Maven is missing or cannot fetch them.
    """
    cache = cache_folder("kafka")
    jars = cache / version
    if jars.is_dir():
        return jars
    with locked(cache / f"{version}.lock"):
        if not jars.is_dir():
            _fetch(version, jars)
    return jars


def class_archive(version: str, java: str) -> Path:
    """The file beside the jars in which `java` keeps the classes of a broker, read and checked; it may be missing.

    With it a broker starts in half the time. It is of use to the Java that wrote it only.
    """
    real = Path(java).resolve()
    made_by = hashlib.sha256(f"{real} {real.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    return kafka_jars(version) / f"{made_by}.jsa"


def _fetch(version: str, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailableError(
            f"Kafka {version} is not in {jars.parent} and Maven is not there to fetch it: install Maven (mvn)"
        )
    with tempfile.TemporaryDirectory(dir=jars.parent) as folder:
        pom, fetched = Path(folder, "pom.xml"), Path(folder, "jars")
        pom.write_text(_POM.format(version=version))
        command = [maven, "-B", "-ntp", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        run = subprocess.run(
            [*command, f"-DoutputDirectory={fetched}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode or not list(fetched.glob("kafka_2.13-*.jar")):
            reasons = [line for line in run.stdout.splitlines() if line.startswith("[ERROR]")] or [run.stderr.strip()]
            raise ServerUnavailableError(
                f"Maven cannot fetch org.apache.kafka:kafka_2.13:{version}: {reasons[0]}; "
                "check the version and that Maven reaches its repository"
            )
        fetched.rename(jars)
