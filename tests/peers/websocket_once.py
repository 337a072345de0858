"""Subscribes to a topic over WebSocket, publishes to it at QoS 1, and prints what comes: websocket_once.py PORT TOPIC"""

import sys

import paho.mqtt.client as mqtt


def main():
    port, topic = int(sys.argv[1]), sys.argv[2]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets", protocol=mqtt.MQTTv5)
    # It says Origin, as if it were a page of the gateway's own.
    client.ws_set_options(path="/mqtt", headers=lambda headers: {name: headers[name] for name in headers if name != "Origin"})

    def on_message(client, _userdata, message):
        print(message.topic, message.payload.decode(), flush=True)
        client.disconnect()

    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda client, *_: client.publish(topic, "hello", qos=1)
    client.on_message = on_message
    client.connect("127.0.0.1", port, keepalive=10)
    client.loop_forever()


main()
