"""What is found before `tapewatch up` starts anything: ports that cannot be listened at."""

import socket
from collections.abc import Iterator

import pytest

from ray_apps.errors import UsageError
from ray_apps.local.process import free_port
from ray_apps.preflight import check_ports
from ray_apps.settings import Settings, load_settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def ports(http: int, metrics: int | None = None, host: str = "127.0.0.1") -> Settings:
    return load_settings(None, {"http.port": http, "metrics.port": metrics, "http.host": host}, {})


def test_a_taken_port_is_named_with_what_to_do(taken: int) -> None:
    said = f"expected to listen on 127.0.0.1 port {taken}, was refused: Address already in use"
    with pytest.raises(UsageError) as http:
        check_ports(ports(taken))
    assert str(http.value) == f"http.port: {said}; --http-port 0 takes a free one"
    with pytest.raises(UsageError) as metrics:
        check_ports(ports(0, taken))
    assert str(metrics.value) == f"metrics.port: {said}; set another"


def test_one_port_is_not_for_both() -> None:
    port = free_port()
    with pytest.raises(UsageError, match=r"^metrics\.port: "):
        check_ports(ports(port, port))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^http\.port: .* was refused: Cannot assign requested address; "):
        check_ports(ports(8000, host="192.0.2.1"))


def test_free_ports_are_free_again_after_the_look() -> None:
    settings = ports(free_port(), free_port())
    check_ports(settings)
    check_ports(settings)
