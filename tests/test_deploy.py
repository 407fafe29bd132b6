"""What is shipped to run the engine: compose file, image, alert rules and dashboard fit the engine and each other.

No Docker engine is needed: the files are read and held against what they speak of.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import CollectorRegistry
from tidegate.engine.config_file import load_config
from tidegate.engine.metrics import JobMeasures
from tidegate.engine.metrics.prometheus import MeasuresCollector, serve_metrics
from tidegate.engine.testing.clock import ManualClock
from tidegate.engine.testing.kafka_jars import KAFKA_VERSION

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name in SERVICES if "build" in SERVICES[name]]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "tidegate.json").read_text())
SCRAPE = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{f"panel {panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{f"annotation {it['name']}": it["expr"] for it in DASHBOARD["annotations"]["list"]},
    **{f"variable {it['name']}": it["definition"] for it in DASHBOARD["templating"]["list"]},
}


def exported() -> dict[str, set[str]]:
    """The labels of every series that the engine gives out, from a job in which everything has happened."""
    clock = ManualClock()
    job = JobMeasures("flights")
    operator = job.operator("in", 0, "source")
    operator.watermark_ms = clock.now_ms()
    operator.count("rule")
    job.subtask("in", 0, ("in",))
    split = job.split("in", "f")
    split.record_lag, split.byte_lag, split.event_time_lag_ms, split.watermark_ms = 1, 1, 1, clock.now_ms()
    job.checkpoints.complete(1, clock.now_ms(), 1.0, size_bytes=1)
    job.recovered(1.0)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MeasuresCollector(job, clock))
    return {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}


EXPORTED = exported()


class TestMetrics:
    """Alert rules and dashboard ask for what the engine exports."""

    @pytest.mark.parametrize("where", EXPRESSIONS)
    def test_every_metric_is_exported(self, where):
        """A name that is wrong would never alert and show nothing."""
        names = set(re.findall(r"\btidegate_\w+", EXPRESSIONS[where]))
        assert names - set(EXPORTED) == set()
        assert names or "up{" in EXPRESSIONS[where]

    @pytest.mark.parametrize("where", EXPRESSIONS)
    def test_every_label_is_one_of_the_metrics(self, where):
        """Those that are matched, grouped and joined by."""
        text = EXPRESSIONS[where]
        names = re.findall(r"\btidegate_\w+", text)
        lists = re.findall(r"\b(?:by|on) \(([^)]*)\)", text)
        used = {label.strip() for labels in lists for label in labels.split(",")}
        used |= {label for matchers in re.findall(r"\{([^}]*)\}", text) for label in re.findall(r"(\w+)\s*=", matchers)}
        assert used - {"job"} - set().union(*(EXPORTED[name] for name in names)) == set()

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_a_legend_speaks_of_labels_that_its_query_keeps(self, panel):
        """Others would be empty."""
        for target in panel["targets"]:
            kept = re.search(r"\bby \(([^)]*)\)", target["expr"])
            names = re.findall(r"\btidegate_\w+", target["expr"])
            labels = set(kept[1].split(", ")) if kept else set().union(*(EXPORTED[name] for name in names))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
    def test_an_alert_says_what_it_means_and_what_to_do(self, rule):
        """It names the job, or the process that is down, and speaks of labels that its expression keeps."""
        text = " ".join(rule["annotations"].values())
        spoken_of = set(re.findall(r"\$labels\.(\w+)", text))
        kept = re.search(r"\bby \(([^)]*)\)", rule["expr"])
        names = re.findall(r"\btidegate_\w+", rule["expr"])
        labels = set(kept[1].split(", ")) if kept else {"instance", *(it for name in names for it in EXPORTED[name])}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert spoken_of <= labels
        assert spoken_of & {"job", "instance"}

    def test_the_label_job_stays_ours(self):
        """Prometheus would replace it by the name of the scrape configuration."""
        assert [config["honor_labels"] for config in SCRAPE["scrape_configs"]] == [True]


class TestDashboard:
    """What Grafana is given."""

    def test_panels_are_told_apart_and_explained(self):
        """Each has a number of its own, a title and a sentence."""
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        assert len(ids) == len(set(ids))
        assert [panel["title"] for panel in PANELS if not (panel["title"] and panel["description"].endswith("."))] == []

    def test_panels_do_not_overlap(self):
        """Each place is taken once, and all are within the 24 columns."""
        places = [
            (x, y)
            for panel in DASHBOARD["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(places) == len(set(places))
        assert max(x for x, _ in places) < 24

    def test_its_data_source_is_provisioned(self):
        """Every query goes to one that Grafana knows from the start."""
        provisioning = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
        known = {source["uid"] for source in provisioning["datasources"]}
        used = set(re.findall(r'"uid": "(\w+)"', json.dumps(DASHBOARD))) - {DASHBOARD["uid"]}
        assert used == known
        assert [source["url"] for source in provisioning["datasources"]] == ["http://prometheus:9090"]

    def test_it_is_where_grafana_looks_for_it(self):
        """The folder that is mounted is the one that is provisioned."""
        provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/tidegate.yml").read_text())
        (path,) = [it["options"]["path"] for it in provider["providers"]]
        home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        assert _mounts("grafana")[path] == DEPLOY / "grafana" / "dashboards"
        assert home == f"{path}/tidegate.json"


class TestCompose:
    """What `docker compose up` starts."""

    def test_everything_is_there(self):
        """Kafka with topics and somebody who writes to it, the engine, Prometheus and Grafana."""
        assert set(SERVICES) == {"kafka", "topics", "orders", "engine", "prometheus", "grafana"}

    @pytest.mark.parametrize("service", SERVICES)
    def test_every_file_that_is_mounted_exists(self, service):
        """Docker would make an empty folder in its place."""
        assert [str(path) for path in _mounts(service).values() if not path.exists()] == []

    @pytest.mark.parametrize("service", SERVICES)
    def test_named_volumes_are_declared(self, service):
        """Compose refuses others."""
        named = {it.split(":")[0] for it in SERVICES[service].get("volumes", []) if not it.startswith(".")}
        assert named <= set(COMPOSE["volumes"])

    @pytest.mark.parametrize("service", SERVICES)
    def test_nothing_listens_to_other_machines(self, service):
        """Published ports are those of the loopback interface."""
        assert [port for port in SERVICES[service].get("ports", []) if not port.startswith("127.0.0.1:")] == []

    @pytest.mark.parametrize("service", [name for name in SERVICES if name not in OURS])
    def test_images_have_a_version(self, service):
        """What worked once works again."""
        assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[service]["image"])

    def test_kafka_is_the_version_that_the_tests_run_on(self):
        """Users get what has been tried."""
        assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"

    def test_kafka_is_told_where_everybody_finds_it(self):
        """Programs on the machine and containers each have an address that leads to it."""
        told = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        addresses = dict(listener.split("://") for listener in told.split(","))
        (published,) = SERVICES["kafka"]["ports"]
        assert addresses["HOST"] == f"localhost:{published.split(':')[1]}"
        assert {SERVICES[name]["environment"]["KAFKA_SERVERS"] for name in OURS} == {addresses["CONTAINERS"]}

    def test_the_engine_is_told_settings_that_it_has(self):
        """In the image and in the compose file."""
        assert _image_config().metrics_host == "0.0.0.0"
        assert _image_config().checkpoints == "/state"
        assert _image_config().checkpoint_interval_ms == 5_000

    def test_the_topology_that_runs_is_there(self):
        """The default of the command is a file of the folder that is mounted."""
        command, topology = SERVICES["engine"]["command"]
        (default,) = re.findall(r"\$\{TOPOLOGY:-([\w.]+)\}", topology)
        assert command == "run"
        assert (_mounts("engine")["/app"] / default).is_file()

    def test_the_programs_around_it_are_there(self):
        """Those that make the topics and write the orders."""
        assert SERVICES["orders"]["command"][0] == "run"
        assert SERVICES["topics"]["entrypoint"][0] == "python"
        assert (_mounts("orders")["/app"] / SERVICES["orders"]["command"][1]).is_file()
        assert (_mounts("topics")["/app"] / SERVICES["topics"]["entrypoint"][1]).is_file()

    def test_nobody_reads_or_writes_before_there_are_topics(self):
        """A topic that is made on demand would have other partitions."""
        ready = {"topics": {"condition": "service_completed_successfully"}}
        assert [SERVICES[name]["depends_on"] for name in ("orders", "engine")] == [ready, ready]
        assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}

    def test_prometheus_scrapes_the_port_that_the_engine_serves(self):
        """And reads the rules that are mounted beside its configuration."""
        (config,) = SCRAPE["scrape_configs"]
        port = _image_config().metrics_port
        assert config["static_configs"] == [{"targets": [f"engine:{port}"]}]
        assert SERVICES["engine"]["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert {f"/etc/prometheus/{name}" for name in SCRAPE["rule_files"]} <= set(_mounts("prometheus"))


class TestImage:
    """What the engine's image is built from, and how it runs."""

    def test_what_is_copied_exists_and_is_not_ignored(self):
        """Every source of a COPY is let through by .dockerignore, and nothing else is."""
        copied = {
            source
            for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
            for source in line.split()[:-1]
        }
        let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        assert copied == let_through
        assert [source for source in copied if not (ROOT / source).exists()] == []

    def test_all_that_is_packaged_is_copied(self):
        """The folders of the packages, and the files that pyproject.toml names."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        needed = {*project["tool"]["setuptools"]["package-dir"].values(), project["project"]["readme"]}
        assert needed <= set(re.findall(r"\S+", " ".join(re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE))))

    def test_it_does_not_run_as_root(self):
        """The last word on the user is one of our own."""
        assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == "tidegate"

    def test_it_is_the_command_line(self):
        """`docker run tidegate run app.py` is `tidegate run app.py`."""
        assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[-1]) == ["tidegate"]

    async def test_its_health_check_asks_for_the_metrics(self):
        """Healthy while they are served, and not when nothing answers."""
        (check,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
        async with serve_metrics(JobMeasures("job"), ManualClock(), "127.0.0.1", 0) as port:
            answered = await _exit_code(json.loads(check), port)
        assert (answered, await _exit_code(json.loads(check), port)) == (0, 1)


def _mounts(service: str) -> dict[str, Path]:
    """Place in the container → file or folder of the repository."""
    parts = [volume.split(":") for volume in SERVICES[service].get("volumes", []) if volume.startswith(".")]
    return {where: ROOT / source for source, where, *_ in parts}


def _image_config() -> Any:
    """The settings of the engine in its container."""
    (block,) = re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)
    environ = dict(word.split("=", 1) for word in block.split())
    return load_config(environ={**environ, **SERVICES["engine"]["environment"]})


async def _exit_code(command: list[str], port: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command[1:], env={"TIDEGATE_METRICS_PORT": str(port)}, stderr=subprocess.DEVNULL
    )
    return await process.wait()
