"""The lab's model of Windows: machines, accounts, tasks and services that answer as Windows answers.

It is a simulation. Its state holds passwords in clear, because they are the truth that the product is measured against;
nothing of a real network is ever in it.
"""
