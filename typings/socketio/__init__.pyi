# What is used here of python-socketio, which has no types of its own.
from .pubsub_manager import PubSubManager as PubSubManager
