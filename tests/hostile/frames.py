"""frames.py send OWN-IP SIBLING-IP BRIDGE-IP | sniff: run as root inside a slot's network, as if somebody had got out of the sandbox but not out of the network namespace.

`send` puts frames of each kind on eth0 and prints how many of which; `sniff` counts those that arrive with our mark until its standard input ends.
"""

import select
import socket
import struct
import sys

MARK = b"hostile-frame"
ETH_ALL, ETH_IP, ETH_ARP, ETH_VLAN, ETH_IP6, ETH_LLDP = 3, 0x0800, 0x0806, 0x8100, 0x86DD, 0x88CC
EVERYBODY = b"\xff" * 6
OTHER = bytes.fromhex("0266aabbccdd")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source, destination, payload, protocol=17):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(destination))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source, destination, sport, dport):
    return ip(source, destination, struct.pack("!HHHH", sport, dport, 8 + len(MARK), 0) + MARK)


def arp(operation, mac, address, target):
    return struct.pack("!HHBBH6s4s6s4s", 1, ETH_IP, 6, 4, operation, mac, socket.inet_aton(address), EVERYBODY, socket.inet_aton(target)) + MARK


def ip6(source, destination, payload, following=58):
    return struct.pack("!IHBB", 6 << 28, len(payload), following, 255) + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination) + payload + MARK


def send(own, sibling, bridge):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("eth0", 0))
    mac = s.getsockname()[4]
    advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    frames = {
        "spoofed_mac_ip": [
            (mac, ETH_IP, udp(sibling, bridge, 1, 53)), (mac, ETH_IP, udp("192.0.2.1", bridge, 1, 53)), (mac, ETH_IP, udp("127.0.0.1", bridge, 1, 53)), (OTHER, ETH_IP, udp(own, bridge, 1, 53)),
            (mac, ETH_IP, udp(bridge, sibling, 67, 68)), (mac, ETH_IP6, ip6("fe80::1", "ff02::1", advertisement)), (mac, ETH_IP6, ip6("fd00::1", "ff02::fb", MARK, 17)),
        ],
        "spoofed_arp": [(mac, ETH_ARP, arp(2, mac, sibling, sibling)), (mac, ETH_ARP, arp(2, mac, bridge, bridge)), (mac, ETH_ARP, arp(1, mac, own, sibling)), (OTHER, ETH_ARP, arp(2, OTHER, own, own))],
        "other_frames": [(mac, ETH_LLDP, MARK * 4), (mac, ETH_VLAN, struct.pack("!HH", 7, ETH_IP) + udp(own, sibling, 1, 53))],
        "": [(mac, ETH_IP, udp(own, "224.0.0.251", 5353, 5353)), (mac, ETH_IP, udp(own, "255.255.255.255", 67, 68)), (mac, ETH_IP, udp(own, sibling, 1, 3000))],  # what it is, but to where it may not
    }
    for kind, list_of in frames.items():
        for source, ethertype, payload in list_of:
            for target in (EVERYBODY, bytes.fromhex("026662000000"), bytes.fromhex("02666e000000")):
                s.send(target + source + struct.pack("!H", ethertype) + payload)
        if kind:
            print(kind, 3 * len(list_of))


def sniff():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
    s.bind(("eth0", 0))
    print("ready", flush=True)
    found = 0
    while True:
        ready, _, _ = select.select([s, sys.stdin], [], [])
        if s in ready:
            data, address = s.recvfrom(65536)
            found += MARK in data and address[2] != socket.PACKET_OUTGOING
        elif sys.stdin in ready:
            break
    print(found)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        sniff()
