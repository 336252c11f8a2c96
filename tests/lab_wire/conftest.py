"""The lab on the wire: the real pywinrm speaks to it over loopback."""

from tests.lab_wire.kit import certificate_folder, lab, mute

__all__ = ["certificate_folder", "lab", "mute"]
