"""Loading and running of models. Only this room, stages/captioner and picturebook import torch and its libraries."""
